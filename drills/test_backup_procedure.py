"""Runbook, "Automated Backup Script" and "step-ca (Critical)": the procedure that makes backups.

Loses:  the instance and its volume, in the drill project; Incus answers 404 for both.
Needs:  an image of the service, and gpg; nothing of the source is touched.
Proves: what the reference procedure (`./run backup`) has written is all that a recovery needs: the
        encrypted file, the note beside it and the passphrase. The service was started again after
        its backup; how long it was stopped is in the evidence.
"""

import pytest

pytestmark = pytest.mark.encrypted_tarball


@pytest.mark.variant("procedure")
def test_service_restored_from_the_backup_procedure(drill, service, procedures_backup):
    """The backup is found on disk, as an operator finds it, and restored."""
    with drill.phase("destroy"):
        service.destroy()
    with drill.phase("restore"):
        service.import_tarball(procedures_backup)
    with drill.phase("start"):
        service.start()
    with drill.phase("healthy"):
        service.wait_until_healthy()
    with drill.phase("verified"):
        service.must_hold(procedures_backup)
