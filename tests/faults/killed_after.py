"""Loaded by `-p tests.faults.killed_after`: a service that was verified loses its instance."""

from fixtures.recovery.after import Afterwards

begin = Afterwards.begin


def begin_and_kill(self):
    begin(self)
    self.service.instance.kill()


Afterwards.begin = begin_and_kill
