"""What failed is what is blamed: the backup, Incus, or a known fault of Incus."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fixtures.errors import CouldNotLook, IncusError, NotFound, RecoveryFailed, WrongData
from fixtures.recovery.drill import Drill
from fixtures.recovery.existing import AGAIN, NEW_BACKUP, ExistingUnderDrill
from fixtures.recovery.service import REOWNED


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        (IncusError("import x: Connection aborted"), AGAIN),
        (NotFound("no pool"), AGAIN),
        (IncusError("no", hint="bring the majority back"), "bring the majority back"),
        (RecoveryFailed("service healthy: not within 120 s"), NEW_BACKUP),
    ],
)
def test_a_new_backup_is_advised_only_where_the_backup_may_be_at_fault(fault, hint):
    service = SimpleNamespace(drill=None)
    subject = ExistingUnderDrill(service, SimpleNamespace(kind="tarball", name="x"))
    with pytest.raises(RecoveryFailed) as told, subject._told("does not restore"):
        raise fault
    assert told.value.hint == hint


@pytest.mark.parametrize("fault", [WrongData("owner"), RecoveryFailed("not healthy")])
def test_a_known_fault_of_incus_is_in_the_reason(fault):
    drill = Drill("x", "tarball", 900, "drill-x", "low")
    drill.explain(REOWNED)
    with drill.phase("destroy"):
        drill.fail(fault)
    assert REOWNED in str(drill.record().reason)
    assert drill.record().notes == [REOWNED]


def test_it_is_not_in_the_reason_of_what_was_not_looked_at():
    drill = Drill("x", "tarball", 900, "drill-x", "low")
    drill.explain(REOWNED)
    with drill.phase("destroy"):
        drill.fail(CouldNotLook("no shell"))
    assert drill.record().reason == "no shell"
