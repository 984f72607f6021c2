"""The judgement of canaries, on a sane recovery and on each way to lose data."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.services.base import Canary, Ledger, judge_canaries

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HELD = [Canary(f"held {n}", f"value {n}", BEGIN + timedelta(minutes=n)) for n in range(3)]
LATER = [Canary("later", "value of later", BEGIN + timedelta(hours=1))]
IDS = ["held 0", "held 1", "held 2"]
ALL_FOUND = {canary.id: canary.value for canary in HELD}


SANE = {"written": [*IDS, "later"], "recovered": IDS, "gone": ["later"]}
UNEXPECTED = "there although written after the backup: later"


@pytest.mark.parametrize(
    ("found", "columns", "newest", "faults"),
    [
        (ALL_FOUND, SANE, 2, []),
        (
            {"held 0": "value 0", "held 1": "another", "later": "value of later"},
            {
                "written": [*IDS, "later"],
                "recovered": ["held 0"],
                "lost": ["held 2"],
                "changed": ["held 1"],
                "unexpected": ["later"],
            },
            0,
            ["lost: held 2", "changed: held 1", UNEXPECTED],
        ),
        ({}, SANE | {"recovered": [], "lost": IDS}, None, [f"lost: {name}" for name in IDS]),
        (
            {**ALL_FOUND, "later": "whatever its value"},
            SANE | {"gone": [], "unexpected": ["later"]},
            2,
            [UNEXPECTED],
        ),
    ],
    ids=["sane", "pathological", "empty", "a skipped restore"],
)
def test_each_canary_that_is_not_as_the_backup_had_it_is_named(found, columns, newest, faults):
    ledger = judge_canaries(HELD, LATER, found)
    survivor = None if newest is None else BEGIN + timedelta(minutes=newest)
    assert ledger == Ledger(**columns, newest_survivor=survivor)
    assert ledger.faults == faults


@given(st.dictionaries(st.sampled_from([*IDS, "later", "foreign"]), st.text(max_size=8)))
def test_every_canary_is_in_exactly_one_column(found):
    ledger = judge_canaries(HELD, LATER, found)
    gone = [*ledger.lost, *ledger.gone]
    there = [*ledger.recovered, *ledger.changed, *ledger.unexpected]
    assert sorted(gone + there) == sorted(ledger.written)


def test_what_such_a_backup_never_holds_may_be_new_but_not_as_it_was():
    history = [Canary("history", "versions 1 to 3", BEGIN)]
    for found in ({}, {"history": "version 1"}):
        ledger = judge_canaries(HELD, [], {**ALL_FOUND, **found}, history)
        assert (ledger.gone, ledger.faults) == (["history"], [])
    kept = judge_canaries(HELD, [], {**ALL_FOUND, "history": "versions 1 to 3"}, history)
    assert kept.unexpected == ["history"]
    assert kept.gone == []


def test_a_member_without_a_survivor_leaves_the_whole_without_one():
    some = Ledger(written=["a"], recovered=["a"], newest_survivor=BEGIN)
    none = Ledger(written=["b"], lost=["b"])
    assert Ledger().with_part("x", some).newest_survivor == BEGIN
    for first, second in ((some, none), (none, some)):
        whole = Ledger().with_part("x", first).with_part("y", second)
        assert whole.newest_survivor is None
