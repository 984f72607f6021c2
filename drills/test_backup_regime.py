"""Runbook, "Backup Schedule Recommendations", "Automated Snapshot Scheduling", "Verification".

Loses:  nothing: everything is read, and nothing is restored. It takes seconds, for every night.
Needs:  the source project, and its directory of backups.
Proves: a backup of each kind that the schedule promises is there and young enough, retention is
        kept, Incus is told to make the snapshots that the fleet file says, files are what they were
        when they were made, and what must be encrypted is, with no plaintext beside it; of each
        service a backup survives the loss of volume, pool, machine and site, or the loss is
        accepted; and the source has nothing that no backup covers. It proves no recovery.
"""

import pytest

pytestmark = pytest.mark.audit("backup regime")


def test_backup_regime_is_kept(audit, regime):
    """Each promise of the schedule, compared with what there is."""
    audit.take(regime.ages())
    audit.take_losses(regime.losses())
    audit.take(regime.retention())
    audit.take(regime.snapshot_settings())
    audit.take(regime.files())
    audit.take(regime.secrecy())
    audit.take(regime.growth())


def test_everything_of_the_source_is_covered(audit, source_objects):
    """Each instance, volume and bucket of the source is in the fleet file, or accepted there."""
    audit.take(source_objects.covered())
