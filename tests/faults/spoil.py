"""A pytest plugin for a child run: the restore is skipped, so that the drill fails."""

from fixtures.recovery.service import ServiceUnderDrill

ServiceUnderDrill.restore_snapshot = lambda self, backup: None
