"""The verdicts combine by one ordered table; the worst wins, and nothing proves nothing."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.evidence.verdict import WORST_LAST, Verdict, merge

verdicts = st.lists(st.sampled_from(Verdict))


def test_every_verdict_has_a_rank() -> None:
    assert set(WORST_LAST) == set(Verdict)
    assert len(WORST_LAST) == len(Verdict)


def test_only_recovered_is_a_pass() -> None:
    assert [verdict for verdict in Verdict if verdict.is_pass] == [Verdict.RECOVERED]


def test_no_verdict_is_not_verified() -> None:
    assert merge([]) is Verdict.NOT_VERIFIED


def test_an_unknown_verdict_raises() -> None:
    with pytest.raises(ValueError, match="'green' is not a valid Verdict"):
        merge([Verdict.RECOVERED, cast(Verdict, "green")])


@given(verdicts, verdicts)
def test_merging_in_parts_is_merging_at_once(one: list[Verdict], other: list[Verdict]) -> None:
    parts = [merge(part) for part in (one, other) if part]
    assert merge(parts) is merge(one + other)


@given(verdicts)
def test_a_pass_needs_every_drill_to_pass(some: list[Verdict]) -> None:
    every_one = bool(some) and all(verdict.is_pass for verdict in some)
    assert merge(some).is_pass is every_one


@given(st.lists(st.sampled_from(Verdict), min_size=1), st.sampled_from(Verdict))
def test_one_more_drill_never_improves_a_verdict(some: list[Verdict], more: Verdict) -> None:
    assert WORST_LAST.index(merge([*some, more])) >= WORST_LAST.index(merge(some))
