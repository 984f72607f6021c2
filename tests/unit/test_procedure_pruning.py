"""Pruning goes by time, and never removes the newest good backup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fixtures.fleet.schedule import retention_seconds
from fixtures.procedure.pruning import plan

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ages = st.lists(st.integers(min_value=0, max_value=40), min_size=0, max_size=12)


def days(*numbers: int) -> list[tuple[datetime, int]]:
    return [(NOW - timedelta(days=number, seconds=1), number) for number in numbers]


def test_what_is_older_than_its_retention_goes() -> None:
    assert plan(days(0, 3, 6, 7, 30), "7d", NOW, lambda _: True).remove == [7, 30]


def test_nothing_goes_without_a_retention() -> None:
    assert plan(days(0, 4000), None, NOW, lambda _: True).remove == []


def test_the_newest_good_one_stays_however_old_it_is() -> None:
    pruning = plan(days(30, 60), "7d", NOW, lambda _: True)
    assert (pruning.remove, pruning.spared) == (
        [60],
        "the newest good one is older than its retention, and stays",
    )


def test_a_young_one_that_is_damaged_saves_an_old_good_one() -> None:
    pruning = plan(days(1, 30, 60), "7d", NOW, lambda age: age != 1)
    assert pruning.remove == [60]


def test_where_none_is_good_none_goes() -> None:
    pruning = plan(days(1, 30, 60), "7d", NOW, lambda _: False)
    assert (pruning.remove, pruning.spared) == (
        [],
        "no backup of this kind is good: none is removed",
    )


@given(ages=ages, bad=st.sets(st.integers(min_value=0, max_value=11)))
def test_after_any_pruning_the_newest_good_one_is_there(ages: list[int], bad: set[int]) -> None:
    backups = [(NOW - timedelta(days=age), n) for n, age in enumerate(ages)]
    good = {n for n in range(len(ages)) if n not in bad}
    removed = set(plan(backups, "7d", NOW, good.__contains__).remove)
    kept = set(range(len(ages))) - removed
    assert all(ages[n] > 7 for n in removed)
    if good:
        assert min(ages[n] for n in good) == min(ages[n] for n in good & kept)
    else:
        assert removed == set()


def test_retentions_are_read_as_incus_reads_them() -> None:
    wanted = {"1M": 60, "1H": 3600, "7d": 604800, "2w": 1209600, "1m": 2592000, "1y": 31536000}
    assert {text: retention_seconds(text) for text in wanted} == wanted
