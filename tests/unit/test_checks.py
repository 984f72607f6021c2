"""The checks of a verification end in one verdict, in one order."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from fixtures.errors import CouldNotLook, IncusError, RecoveryFailed, WrongData
from fixtures.evidence.record import Verdict
from fixtures.evidence.writer import is_of_source
from fixtures.recovery import checks as module
from fixtures.recovery.checks import REOWNED, Checks, checking_host
from fixtures.recovery.drill import Drill
from fixtures.recovery.existing import AGAIN, NEW_BACKUP, ExistingUnderDrill
from fixtures.recovery.fleet import Platform
from fixtures.services.base import ActiveCheck


@pytest.fixture
def made():
    return Checks(Drill("x", "tarball", 900, "drill-x", "low"))


HOST = [
    (ActiveCheck("port", True, "9090"), None, None),
    (ActiveCheck("owner", False, "root"), WrongData, "owner: root"),
    (ActiveCheck("host", None, "no shell"), CouldNotLook, "host: no shell"),
]


@pytest.mark.parametrize(("seen", "error", "why"), HOST)
def test_what_is_seen_of_the_host_comes_last_and_counts(made, monkeypatch, seen, error, why):
    monkeypatch.setattr(module, "check_host", lambda *_: [seen])
    with checking_host(made, SimpleNamespace(), SimpleNamespace()):
        made.record("canaries", True, "2 back")
    assert [check.name for check in made.drill.checks] == ["canaries", seen.name]
    if error is None:
        made.must_all_hold("x")
    else:
        with pytest.raises(error, match=why):
            made.must_all_hold("x")


def test_a_defect_in_the_thread_is_not_lost(made, monkeypatch):
    monkeypatch.setattr(module, "check_host", lambda *_: 1 / 0)
    with (
        pytest.raises(ZeroDivisionError),
        checking_host(made, SimpleNamespace(), SimpleNamespace()),
    ):
        made.record("canaries", True, "2 back")


def test_what_was_seen_of_the_host_is_in_the_evidence_where_the_block_raises(made, monkeypatch):
    monkeypatch.setattr(module, "check_host", lambda *_: [ActiveCheck("port", False, "9090")])
    with (
        pytest.raises(CouldNotLook, match="no canaries"),
        checking_host(made, SimpleNamespace(), SimpleNamespace()),
    ):
        raise CouldNotLook("no canaries")
    assert made.broken == ["port: 9090"]


def test_wrong_data_is_worse_than_a_check_that_was_not_made(made):
    made.not_looked("facts", "no answer")
    made.record("canaries", False, "lost: a")
    with pytest.raises(WrongData, match="^service x came back with other data: canaries: lost: a$"):
        made.must_all_hold("x")


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        (IncusError("import x: Connection aborted"), AGAIN),
        (IncusError("no", hint="bring the majority back"), "bring the majority back"),
        (RecoveryFailed("service healthy: not within 120 s"), NEW_BACKUP),
    ],
)
def test_a_new_backup_is_advised_only_where_the_backup_may_be_at_fault(fault, hint):
    service = SimpleNamespace(drill=None)
    subject = ExistingUnderDrill(service, SimpleNamespace(kind="tarball", name="x"))
    with pytest.raises(RecoveryFailed) as raised, subject._translated("does not restore"):
        raise fault
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    ("fault", "is_explained"),
    [(WrongData("owner"), True), (RecoveryFailed("no"), True), (CouldNotLook("no shell"), False)],
)
def test_a_known_fault_of_incus_is_in_the_reason_of_what_failed(fault, is_explained):
    drill = Drill("x", "tarball", 900, "drill-x", "low")
    drill.explain(REOWNED)
    with drill.phase("destroy"):
        drill.fail(fault)
    assert (REOWNED in str(drill.record().reason)) is is_explained
    assert drill.record().notes == [REOWNED]


@pytest.mark.parametrize(
    ("now", "shrink", "is_held"),
    [(90, 0.1, True), (89, 0.1, False), (50, 0.5, True), (0, 1.0, True), (100, 0.0, True)],
)
def test_less_than_the_last_proof_by_more_than_is_allowed_is_wrong(made, now, shrink, is_held):
    about = {"begun": datetime(2026, 11, 1, tzinfo=UTC), "run": "r1"}
    made.drill.last_proof = SimpleNamespace(counted={"silences": 100, "locks": 0}, **about)
    made.drill.counted = {"silences": now, "keys": 3}
    module.check_not_shrunk(made, made.drill, shrink)
    assert (not made.broken) is is_held
    assert is_held or f"{now} silences, the last proof counted 100" in made.broken[0]


def test_a_proof_is_compared_with_one_of_the_same_source():
    line = SimpleNamespace(
        service="x",
        scenario="tarball",
        origin="existing",
        verdict=Verdict.RECOVERED,
        backup_source="/backup/20261101",
        variant=None,
    )
    assert is_of_source(line, "x", "tarball", "/backup/20261128")
    assert not is_of_source(line, "x", "tarball", "/other/20261128")
    assert not is_of_source(line, "x", "snapshot", "/backup/20261128")
    line.verdict = Verdict.WRONG_DATA
    assert not is_of_source(line, "x", "tarball", "/backup/20261128")


def test_members_that_are_not_rebuilt_leave_the_whole_unproven():
    drill = Drill("fleet", "full-rebuild", 900, "drill-x", "low")
    platform = Platform(None, "local", drill, [], [], {}, left_out=["loki"])
    with pytest.raises(CouldNotLook, match="not the whole fleet: without loki, mosquitto"):
        platform.must_hold({"mosquitto": None})
