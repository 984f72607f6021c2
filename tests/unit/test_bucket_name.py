"""Names of buckets: unique on a server, so made from the drill project's."""

from fixtures.recovery.bucket import name_in


def test_the_name_is_the_projects():
    assert name_in("drill-20260101-000000-abcdef-main") == "drill-20260101-000000-abcdef-main-state"


def test_a_long_name_is_cut_but_stays_unique():
    one, other = (name_in("drill-" + "x" * 60 + end) for end in "ab")
    assert len(one) == len(other) == 63
    assert one != other
    assert one.endswith("-state") and "--" not in one
