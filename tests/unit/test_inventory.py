"""Two looks at a source: what a run could have changed fails it, what Incus does is told."""

from datetime import UTC, datetime, timedelta

import pytest

from fixtures.evidence.record import SourceRecord
from fixtures.incus.inventory import (
    UNREAD,
    Difference,
    ObjectState,
    compare,
    digest,
    digest_of,
    fits,
)

BEGUN = datetime.now(UTC) - timedelta(minutes=5)
LATER = BEGUN + timedelta(minutes=1)
VOLUME = "volume loki01-data on pool local"
SNAPSHOT = f"{VOLUME}: snapshot"
BEFORE = {
    VOLUME: ObjectState("1", schedule="@daily", pattern="auto-{{ creation_date }}"),
    f"{SNAPSHOT} old": ObjectState("2", BEGUN - timedelta(days=9), BEGUN + timedelta(seconds=1)),
    f"{SNAPSHOT} kept": ObjectState("3", BEGUN - timedelta(days=1)),
    "instance loki01": ObjectState("4"),
    "state of instance loki01": ObjectState("Running"),
}


def test_nothing_differs_from_itself():
    assert compare(BEFORE, dict(BEFORE), BEGUN) == Difference()


def test_a_scheduled_snapshot_and_an_expired_one_are_incus_own():
    after = {**BEFORE, f"{SNAPSHOT} auto-2026": ObjectState("5", LATER)}
    del after[f"{SNAPSHOT} old"]
    found = compare(BEFORE, after, BEGUN)
    assert found.changed == []
    assert found.by_itself == [f"{SNAPSHOT} auto-2026 is new", f"{SNAPSHOT} old is gone"]


@pytest.mark.parametrize(
    "name, seen",
    [
        (f"{SNAPSHOT} by-hand", ObjectState("5", LATER)),
        (f"{SNAPSHOT} auto-2026", ObjectState("5", BEGUN - timedelta(seconds=1))),
        (f"{SNAPSHOT} auto-2026", ObjectState("5")),
        ("volume other on pool local: snapshot auto-2026", ObjectState("5", LATER)),
        ("instance other", ObjectState("5")),
    ],
)
def test_what_is_new_for_no_such_reason_is_a_change(name, seen):
    assert compare(BEFORE, {**BEFORE, name: seen}, BEGUN).changed == [f"{name} is new"]


def test_what_is_gone_or_changed_is_a_change():
    after = {
        **BEFORE,
        "instance loki01": ObjectState("6"),
        "state of instance loki01": ObjectState("Stopped"),
    }
    del after[f"{SNAPSHOT} kept"]
    assert compare(BEFORE, after, BEGUN).changed == [
        "instance loki01 is changed",
        "state of instance loki01 is changed: was Running, is Stopped",
        f"{SNAPSHOT} kept is gone",
    ]


def test_what_changes_by_itself_has_no_part_in_a_digest():
    assert digest({"a": 1, "used_by": ["x"]}) == digest({"a": 1, "used_by": []})
    assert digest({"a": [1, 2]}) == digest({"a": [2, 1]})
    assert digest({"size": 1, "config": {}}) == digest({"size": 2, "config": {}})
    for key in ("config", "devices"):
        quotas = [{key: {"root": {"size": size}, "size": size}} for size in ("10GiB", "1GiB")]
        assert digest(quotas[0]) != digest(quotas[1]), "a quota is a setting"
    assert digest_of(BEFORE) != digest_of({**BEFORE, "instance loki01": ObjectState("6")})


def test_the_evidence_tells_what_changed():
    own = SourceRecord(project="p", before="1", after="2", by_itself=["x is new"])
    assert own.is_unchanged
    assert own.words == "project p is unchanged; Incus itself: x is new"
    changed = SourceRecord(project="p", before="1", after="2", changed=["y is gone"])
    assert not changed.is_unchanged
    assert changed.words == "source project p changed during the run: y is gone"
    assert not SourceRecord(project="p", before="1", after="2").is_unchanged
    assert not SourceRecord(project="p", before="1", after=None).is_unchanged


def test_snapshots_of_a_member_that_is_gone_are_not_compared_and_told():
    gone = {name: one for name, one in BEFORE.items() if not name.startswith(SNAPSHOT)}
    gone[f"{VOLUME}: snapshots"] = ObjectState(UNREAD)
    for one, other in ((BEFORE, gone), (gone, BEFORE), (gone, gone)):
        assert compare(one, other, BEGUN) == Difference(not_compared=[f"{VOLUME}: snapshots"])
    also = {**gone, "instance loki01": ObjectState("6")}
    assert compare(BEFORE, also, BEGUN).changed == ["instance loki01 is changed"]
    partly = SourceRecord(project="p", before="1", after="2", not_compared=["x: snapshots"])
    assert partly.is_unchanged
    assert partly.words == "project p is unchanged; not compared: x: snapshots"


@pytest.mark.parametrize(
    "pattern, name, whether",
    [
        ("snap%d", "snap0", True),
        ("snap%d", "snapshot", False),
        ("{{ creation_date }}", "2026-11-24 03:53:37.69 +0000 UTC m=+180.9", True),
        ("{{ creation_date }}", "by-hand", False),
        ("auto-{{ creation_date }}-x", "auto-20261124-x", True),
        ("auto-{{ creation_date }}-x", "auto-20261124", False),
        ("a.c-%d", "abc-1", False),
        ("nightly", "nightly", True),
    ],
)
def test_a_name_by_hand_is_none_of_the_schedules(pattern, name, whether):
    assert fits(pattern, name) is whether
