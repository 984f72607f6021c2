"""Checks after a recovery end in one verdict; what proves nothing, or too much, is seen."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import yaml

from fixtures.backups.tarball import created_at
from fixtures.clock import CLOCK_SKEW
from fixtures.errors import BackupDamaged, CouldNotLook, IncusError, RecoveryFailed, WrongData
from fixtures.evidence.judge import judge_drill
from fixtures.evidence.record import Verdict
from fixtures.evidence.writer import is_of_source
from fixtures.recovery import checks as module
from fixtures.recovery.checks import REOWNED, Checks, check_known, checking_host, newest_survivor
from fixtures.recovery.drill import Drill
from fixtures.recovery.existing import (
    AGAIN,
    NEW_BACKUP,
    ExistingUnderDrill,
    must_be_of_this_volume,
)
from fixtures.recovery.fleet import Platform
from fixtures.services.base import ActiveCheck, Item, Known, Ledger, each, total
from fixtures.services.registry import SERVICES
from tests.imitations.instance import spec_of

NOW = datetime.now(UTC)
NOTHING = SimpleNamespace()


@pytest.fixture
def made():
    return Drill("x", "tarball", 900, "drill-x", "low", target_rpo=86400)


@pytest.fixture
def checks(made):
    return Checks(made)


@pytest.mark.parametrize(
    ("seen", "error", "why"),
    [
        (ActiveCheck("port", True, "9090"), None, None),
        (ActiveCheck("owner", False, "root"), WrongData, "owner: root"),
        (ActiveCheck("host", None, "no shell"), CouldNotLook, "host: no shell"),
    ],
)
def test_what_is_seen_of_the_host_comes_last_and_counts(checks, monkeypatch, seen, error, why):
    monkeypatch.setattr(module, "check_host", lambda *_: [seen])
    with checking_host(checks, NOTHING, NOTHING):
        checks.record("canaries", True, "2 back")
    assert [check.name for check in checks.drill.checks] == ["canaries", seen.name]
    if error is None:
        checks.must_all_hold("x")
    else:
        with pytest.raises(error, match=why):
            checks.must_all_hold("x")


def test_a_broken_proof_is_no_wrong_data_where_incus_itself_has_gone(checks):
    def gone():
        raise IncusError("nothing listens there")

    broken = [ActiveCheck("an MQTT round trip", False, "connection to the broker lost")]
    checks.record_active_checks(lambda: broken, gone)
    checks.not_looked("stays up", "run systemctl: nothing listens there")
    why = "^service x: proofs by doing, stays up: run systemctl: nothing listens there$"
    with pytest.raises(CouldNotLook, match=why):
        checks.must_all_hold("x")
    checks.record_active_checks(lambda: broken, lambda: "Running")
    with pytest.raises(WrongData, match="round trip"):
        checks.must_all_hold("x")


def test_neither_a_defect_in_the_thread_nor_what_it_saw_is_lost(checks, monkeypatch):
    monkeypatch.setattr(module, "check_host", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), checking_host(checks, NOTHING, NOTHING):
        checks.record("canaries", True, "2 back")
    monkeypatch.setattr(module, "check_host", lambda *_: [ActiveCheck("port", False, "9090")])
    with pytest.raises(CouldNotLook), checking_host(checks, NOTHING, NOTHING):
        raise CouldNotLook("no canaries")
    assert checks.broken == ["port: 9090"]


def test_wrong_data_is_worse_than_a_check_that_was_not_made(checks):
    checks.not_looked("facts", "no answer")
    checks.record("canaries", False, "lost: a")
    with pytest.raises(WrongData, match="^service x came back with other data: canaries: lost: a$"):
        checks.must_all_hold("x")


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        (IncusError("import x: Connection aborted"), AGAIN),
        (IncusError("no", hint="bring the majority back"), "bring the majority back"),
        (RecoveryFailed("service healthy: not within 120 s"), NEW_BACKUP),
    ],
)
def test_a_new_backup_is_advised_only_where_the_backup_may_be_at_fault(fault, hint):
    subject = ExistingUnderDrill(NOTHING, SimpleNamespace(kind="tarball", name="x"))
    with pytest.raises(RecoveryFailed) as raised, subject._translated("does not restore"):
        raise fault
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    ("fault", "is_explained"),
    [(WrongData("owner"), True), (RecoveryFailed("no"), True), (CouldNotLook("no shell"), False)],
)
def test_a_known_fault_of_incus_is_in_the_reason_of_what_failed(made, fault, is_explained):
    made.explain(REOWNED)
    with made.phase("destroy"):
        made.fail(fault)
    assert (REOWNED in str(made.record().reason)) is is_explained
    assert made.record().notes == [REOWNED]


@pytest.mark.parametrize(
    ("now", "shrink", "is_held"),
    [(90, 0.1, True), (89, 0.1, False), (50, 0.5, True), (0, 1.0, True), (100, 0.0, True)],
)
def test_less_than_the_last_proof_by_more_than_is_allowed_is_wrong(checks, now, shrink, is_held):
    counted = {"dashboards": 100, "folders": 0}
    checks.drill.last_proof = SimpleNamespace(counted=counted, begun=NOW, run="r1")
    checks.drill.counted = {"dashboards": now, "keys": 3}
    module.check_not_shrunk(checks, checks.drill, shrink)
    assert (not checks.broken) is is_held
    assert is_held or f"{now} dashboards, the last proof counted 100" in checks.broken[0]


@pytest.mark.parametrize(("kind", "what"), [("alertmanager", "silences"), ("atlantis", "locks")])
def test_what_ends_by_itself_may_be_fewer_than_at_the_last_proof(checks, kind, what):
    subject = SERVICES[kind](spec_of(kind), None)
    checks.drill.last_proof = SimpleNamespace(counted={what: 9}, begun=NOW, run="r1")
    module.count(checks, subject, each(what, {"a": "1"}))
    assert checks.drill.counted == {}
    module.check_not_shrunk(checks, checks.drill, 0.1, subject.passing_items)
    assert not checks.broken


def test_what_could_not_be_counted_is_not_less_than_at_the_last_proof(checks):
    """Incus fell silent while the service was counted: 0 of 3 certificates were wrong data."""
    counted = {"certificates": 3, "keys": 2}
    checks.drill.last_proof = SimpleNamespace(counted=counted, begun=NOW, run="r1")
    checks.drill.counted = {"keys": 2}
    module.check_not_shrunk(checks, checks.drill, 0.1, is_counted=False)
    assert not checks.broken and checks.unlooked
    checks.drill.counted = {"keys": 1}
    module.check_not_shrunk(checks, checks.drill, 0.1, is_counted=False)
    assert "1 keys, the last proof counted 2 (" in checks.broken[0]


def test_a_proof_is_compared_with_one_of_the_same_source():
    line = SimpleNamespace(service="x", scenario="tarball", origin="existing", variant=None)
    line.verdict, line.backup_source = Verdict.RECOVERED, "/backup/20261101"
    assert is_of_source(line, "x", "tarball", "/backup/20261128")
    assert not is_of_source(line, "x", "tarball", "/other/20261128")
    assert not is_of_source(line, "x", "snapshot", "/backup/20261128")
    line.verdict = Verdict.WRONG_DATA
    assert not is_of_source(line, "x", "tarball", "/backup/20261128")


def test_members_that_are_not_rebuilt_leave_the_whole_unproven(made):
    platform = Platform(None, "local", made, [], [], {}, left_out=["loki"])
    with pytest.raises(CouldNotLook, match="not the whole fleet: without loki, mosquitto"):
        platform.must_hold({"mosquitto": None})


HELD = tuple(each("silences", {"a": "1"}))


class Restored:
    """A restored service, as far as it is asked."""

    passing_items = ()

    def __init__(self, found, newest=None):
        self.list_items, self.newest = lambda at: found, lambda at: newest


@pytest.mark.parametrize(
    ("held", "is_proof"),
    [
        (HELD, True),
        (HELD[:1], True),
        ((total("metrics", ["up"]), Item("series", "in the hour before noon", "7", 7)), True),
        ((*HELD, *each("dashboards", {})), True),
        (tuple(each("silences", {})), False),
        ((Item("series", "all", "none", 0),), False),
        ((), False),
    ],
)
@pytest.mark.parametrize("more", [{}, {"newest": NOW}, {"is_bracketed": True}])
def test_an_empty_service_that_is_empty_again_is_no_proof(checks, held, is_proof, more):
    check_known(checks, Restored(held), Known("the note", NOW, held, **more), "what it held")
    assert (checks.unlooked == []) is is_proof
    assert checks.broken == []


@pytest.mark.parametrize("ahead", [timedelta(), CLOCK_SKEW, CLOCK_SKEW + timedelta(seconds=1)])
@pytest.mark.parametrize("dated_by", ["note", "file", "data", "newest of the note"])
def test_the_age_of_data_that_is_dated_after_the_loss_is_not_known(checks, dated_by, ahead):
    moment = NOW + ahead
    known = None if dated_by == "file" else Known("the note", moment, HELD)
    newest = moment if dated_by in ("data", "newest of the note") else None
    if dated_by == "newest of the note":
        known = replace(known, newest=moment)
    taken_at = moment if dated_by == "file" else NOW
    found = newest_survivor(checks, Restored(HELD, newest), known, taken_at, NOW)
    is_known = ahead <= CLOCK_SKEW
    assert found == (moment if is_known else None)
    names = [one.partition(":")[0] for one in checks.unlooked]
    assert names == ([] if is_known else ["age of the data"])


def test_a_drill_says_no_age_of_data_from_the_future(made):
    with made.phase("destroy"):
        made.ledger = Ledger(newest_survivor=datetime.now(UTC) + timedelta(days=3))
    assert made.record().rpo is None
    made.ledger = Ledger(newest_survivor=datetime.now(UTC) + timedelta(seconds=9))
    assert made.record().rpo == 0.0
    assert judge_drill(made.record()) is not Verdict.RECOVERED


MAY, JUNE, JULY, AUGUST = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7, 8))
OTHER = "is a backup of another volume x-data"


def proof(created, taken):
    return SimpleNamespace(run="r1", volume_created_at=created, backup_taken_at=taken)


@pytest.mark.parametrize(
    ("created", "taken", "source", "last", "error"),
    [
        (MAY, JULY, MAY, None, None),
        (MAY, JULY, MAY + timedelta(microseconds=300), None, None),
        (MAY, JUNE, JULY, None, None),  # the source's was made again since
        (None, JUNE, MAY, None, None),
        (MAY, JULY, None, None, None),
        (MAY, AUGUST, None, proof(MAY, JULY), None),
        (JULY, AUGUST, None, proof(MAY, JUNE), None),  # made again between the two
        (MAY, JUNE, None, proof(JULY, AUGUST), None),  # an older one is drilled
        (MAY, JULY, MAY, proof(JUNE, AUGUST), None),  # the source itself says more
        (JUNE, AUGUST, MAY, None, OTHER),
        (JUNE, AUGUST, None, proof(MAY, AUGUST), OTHER),
        (JUNE, AUGUST, None, proof(MAY, JULY + timedelta(days=1)), OTHER),
    ],
)
def test_a_volume_that_was_there_at_the_same_time_is_another_one(
    created, taken, source, last, error
):
    seen = SimpleNamespace(created_at=created, volume="x-data")
    backup = SimpleNamespace(name="x.tar", inspection=seen, taken_at=taken)
    if error is None:
        must_be_of_this_volume(backup, source, last)
    else:
        with pytest.raises(BackupDamaged, match=error):
            must_be_of_this_volume(backup, source, last)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("2026-05-01T00:00:00.370323208Z", MAY + timedelta(microseconds=370323)),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
    ],
)
def test_the_index_says_when_its_volume_was_created(said, found):
    assert created_at(yaml.safe_load(f"volume: {{created_at: {said}}}")) == found
    assert created_at({}) is None
