"""Loaded by `-p tests.faults.killed_after`: a service that was verified loses its instance."""

from fixtures.recovery.after import AfterChecks

begin = AfterChecks.begin


def begin_and_kill(self):
    begin(self)
    self.service.instance.kill()


AfterChecks.begin = begin_and_kill
