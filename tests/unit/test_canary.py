"""The judgement of canaries, on a sane recovery and on each way to lose data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fixtures.services.base import Canary, Ledger, judge_canaries

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HELD = [Canary(f"held {n}", f"value {n}", BEGIN + timedelta(minutes=n)) for n in range(3)]
LATER = [Canary("later", "value of later", BEGIN + timedelta(hours=1))]
IDS = ["held 0", "held 1", "held 2"]
ALL_FOUND = {canary.id: canary.value for canary in HELD}


def test_a_sane_recovery_has_no_faults() -> None:
    ledger = judge_canaries(HELD, LATER, ALL_FOUND)
    assert ledger == Ledger(
        written=[*IDS, "later"],
        recovered=IDS,
        gone=["later"],
        newest_survivor=BEGIN + timedelta(minutes=2),
    )
    assert ledger.faults == []


def test_a_pathological_recovery_names_every_fault() -> None:
    ledger = judge_canaries(
        HELD, LATER, {"held 0": "value 0", "held 1": "another", "later": "value of later"}
    )
    assert ledger == Ledger(
        written=[*IDS, "later"],
        recovered=["held 0"],
        lost=["held 2"],
        changed=["held 1"],
        unexpected=["later"],
        newest_survivor=BEGIN,
    )
    assert ledger.faults == [
        "lost: held 2",
        "changed: held 1",
        "there although written after the backup: later",
    ]


def test_an_empty_service_has_lost_everything_and_has_no_survivor() -> None:
    ledger = judge_canaries(HELD, LATER, {})
    assert ledger.lost == IDS
    assert ledger.newest_survivor is None


def test_a_skipped_restore_is_seen_by_what_should_be_gone() -> None:
    found = {**ALL_FOUND, "later": "whatever its value"}
    assert judge_canaries(HELD, LATER, found).faults == [
        "there although written after the backup: later"
    ]


@given(st.dictionaries(st.sampled_from([*IDS, "later", "foreign"]), st.text(max_size=8)))
def test_every_canary_is_in_exactly_one_column(found: dict[str, str]) -> None:
    ledger = judge_canaries(HELD, LATER, found)
    columns = [
        *ledger.recovered,
        *ledger.lost,
        *ledger.changed,
        *ledger.gone,
        *ledger.unexpected,
    ]
    assert sorted(columns) == sorted(ledger.written)


def test_what_such_a_backup_never_holds_may_be_made_anew_but_not_be_as_it_was() -> None:
    history = [Canary("history", "versions 1 to 3", BEGIN)]
    for found in ({}, {"history": "version 1"}):
        ledger = judge_canaries(HELD, [], {**ALL_FOUND, **found}, history)
        assert (ledger.gone, ledger.faults) == (["history"], [])
    kept = judge_canaries(HELD, [], {**ALL_FOUND, "history": "versions 1 to 3"}, history)
    assert kept.unexpected == ["history"]
    assert kept.gone == []


def test_a_member_without_a_survivor_leaves_the_whole_without_one() -> None:
    some = Ledger(written=["a"], recovered=["a"], newest_survivor=BEGIN)
    none = Ledger(written=["b"], lost=["b"])
    assert Ledger().with_part("x", some).newest_survivor == BEGIN
    for first, second in ((some, none), (none, some)):
        whole = Ledger().with_part("x", first).with_part("y", second)
        assert whole.newest_survivor is None
