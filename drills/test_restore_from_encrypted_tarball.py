"""Runbook, "step-ca (Critical)" and "Test encrypted backup": exported, encrypted, off-site.

Loses:  the instance and its volume, in the drill project; Incus answers 404 for both.
Needs:  an image of the service, and gpg; nothing of the source is touched.
Proves: the file really is encrypted, with AES256, and decrypts with its passphrase to a whole
        export of this volume; it is decrypted on its way into Incus, and the suite writes no
        plaintext of it; the service is healthy within its target and holds every canary.
"""

import pytest

pytestmark = pytest.mark.encrypted_tarball


def test_service_restored_from_encrypted_tarball(drill, service, backup):
    """Instance and volume are deleted, the tarball is decrypted and imported as one stream."""
    with drill.phase("destroy"):
        service.destroy()
    with drill.phase("restore"):
        service.import_tarball(backup)
    with drill.phase("start"):
        service.start()
    with drill.phase("healthy"):
        service.wait_until_healthy()
    with drill.phase("verified"):
        service.must_hold(backup)
