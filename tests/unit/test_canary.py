"""The judgement of canaries, on a sane recovery and on each way to lose data."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.services.base import Canary, Ledger, judge_canaries

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HELD = [Canary(f"held {n}", f"value {n}", BEGIN + timedelta(minutes=n)) for n in range(3)]
LATER = [Canary("later", "value of later", BEGIN + timedelta(hours=1))]
HISTORY = [Canary("history", "versions 1 to 3", BEGIN)]
IDS = ["held 0", "held 1", "held 2"]
ALL = {canary.id: canary.value for canary in HELD}
UNEXPECTED = "there although written after the backup: "


@pytest.mark.parametrize(
    ("found", "recovered", "gone", "faults"),
    [
        (ALL, IDS, ["later", "history"], []),
        (
            {"held 0": "value 0", "held 1": "another", "later": "value of later"},
            ["held 0"],
            ["history"],
            ["lost: held 2", "changed: held 1", f"{UNEXPECTED}later"],
        ),
        ({}, [], ["later", "history"], [f"lost: {name}" for name in IDS]),
        (ALL | {"later": "whatever its value"}, IDS, ["history"], [f"{UNEXPECTED}later"]),
        (ALL | {"history": "version 1"}, IDS, ["later", "history"], []),
        (ALL | {"history": "versions 1 to 3"}, IDS, ["later"], [f"{UNEXPECTED}history"]),
    ],
    ids=["sane", "pathological", "empty", "a skipped restore", "new history", "old history"],
)
def test_each_canary_that_is_not_as_the_backup_had_it_is_named(found, recovered, gone, faults):
    ledger = judge_canaries(HELD, LATER, found, HISTORY)
    assert (ledger.recovered, ledger.gone, ledger.faults) == (recovered, gone, faults)
    times = [canary.written_at for canary in HELD if canary.id in recovered]
    assert ledger.newest_survivor == max(times, default=None)


@given(st.dictionaries(st.sampled_from([*IDS, "later", "foreign"]), st.text(max_size=8)))
def test_every_canary_is_in_exactly_one_column(found):
    ledger = judge_canaries(HELD, LATER, found)
    gone = [*ledger.lost, *ledger.gone]
    there = [*ledger.recovered, *ledger.changed, *ledger.unexpected]
    assert sorted(gone + there) == sorted(ledger.written) == sorted([*IDS, "later"])


def test_a_member_without_a_survivor_leaves_the_whole_without_one():
    some = Ledger(written=["a"], recovered=["a"], newest_survivor=BEGIN)
    none = Ledger(written=["b"], lost=["b"])
    assert Ledger().with_part("x", some).newest_survivor == BEGIN
    for first, second in ((some, none), (none, some)):
        whole = Ledger().with_part("x", first).with_part("y", second)
        assert whole.newest_survivor is None
