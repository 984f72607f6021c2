"""Verdicts combine by one ordered table; the worst wins, and nothing proves nothing."""

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.evidence.record import WORST_LAST, AuditVerdict, Verdict, merge, merge_audits

verdicts = st.lists(st.sampled_from(Verdict))


def test_only_recovered_and_in_order_are_passes():
    assert [verdict.value for verdict in Verdict if verdict.is_pass] == ["recovered"]
    assert [verdict.value for verdict in AuditVerdict if verdict.is_pass] == ["in order"]


def test_no_verdict_is_not_verified_and_an_unknown_one_raises():
    assert merge([]) is Verdict.NOT_VERIFIED
    assert merge_audits([]) is AuditVerdict.NOT_VERIFIED
    with pytest.raises(ValueError, match="'green' is not a valid Verdict"):
        merge([Verdict.RECOVERED, cast(Verdict, "green")])
    with pytest.raises(ValueError, match="recovered"):
        merge_audits([cast(AuditVerdict, "recovered")])


def test_the_order_of_verdicts_is_from_good_to_bad():
    assert [verdict.value for verdict in WORST_LAST] == [
        "recovered",
        "recovered late",
        "not verified",
        "not recovered",
        "wrong data",
    ]


@given(verdicts, verdicts)
def test_merging_in_parts_is_merging_at_once(first, second):
    parts = [merge(part) for part in (first, second) if part]
    assert merge(parts) is merge(first + second)


@given(verdicts)
def test_a_pass_needs_every_drill_to_pass(some):
    assert merge(some).is_pass is (bool(some) and all(verdict.is_pass for verdict in some))


@given(st.lists(st.sampled_from(Verdict), min_size=1), st.sampled_from(Verdict))
def test_one_more_drill_never_improves_a_verdict(some, more):
    assert WORST_LAST.index(merge([*some, more])) >= WORST_LAST.index(merge(some))
