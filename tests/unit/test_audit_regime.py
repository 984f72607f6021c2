"""The backup regime judged: each promise kept, and each one broken once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.audit import policy
from fixtures.audit import policy as rules
from fixtures.audit.inventory import BackupInventory, File
from fixtures.backups.find import FoundFile
from fixtures.fleet.load import load_fleet
from fixtures.plugin.audits import not_checked

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def atlas():
    return load_fleet(ROOT / "fleets" / "atlas.yaml")


def found(kind, taken_at=NOW):
    return FoundFile(Path("/srv/x"), kind, "step-ca01-data", taken_at, "index")


def seen(atlas, name, **more):
    """Daily snapshots for eight days, all well."""
    snapshots = {f"backup-{n}": NOW - n * DAY for n in range(8)}
    known = {"snapshots": snapshots, "status": "Running", "used_bytes": 10**6}
    known["files"] = {"tarball": [File(found("tarball", NOW - DAY))]}
    return BackupInventory(atlas.service(name), NOW, (Path("/srv"),), **{**known, **more})


def broken(checks):
    found = list(checks)
    assert all(one.advice for one in found if one.outcome == "broken")
    return [f"{one.name}: {one.detail}" for one in found if one.outcome == "broken"]


def test_a_further_volume_is_not_looked_at(atlas):
    here = seen(atlas, "mosquitto")
    data = here.subject.volumes[0]
    wal = data.model_copy(update={"name": "mosquitto01-wal", "path": "/var/wal"})
    here.subject = here.subject.model_copy(update={"volumes": (data, wal)})
    (told,) = [one for one in rules.ages(here) if one.outcome == "not looked"]
    assert told.name == "volume mosquitto01-wal at /var/wal"


def test_what_is_kept_is_in_order(atlas):
    here = seen(atlas, "mosquitto")
    for look in (rules.retention, policy.snapshot_settings, rules.files, rules.secrecy):
        assert broken(look(here)) == []
    assert broken(rules.growth(here, (60.0, 1800.0))) == []
    assert [one.outcome for one in rules.ages(here)] == ["held", "held", "held"]


def test_a_missing_or_old_backup_is_a_finding(atlas):
    assert broken(rules.ages(seen(atlas, "mosquitto", files={}))) == [
        "newest tarball: there is no tarball"
    ]
    assert broken(rules.ages(seen(atlas, "mosquitto", snapshots={}))) == [
        "newest snapshot: there is no snapshot"
    ]
    old = seen(atlas, "mosquitto", snapshots={"a": NOW - 1.2 * DAY})
    assert broken(rules.ages(old)) == [
        "newest snapshot: it is 1 d 5 h old; the schedule @daily allows 1 d 2 h"
    ]
    just = seen(atlas, "mosquitto", snapshots={"a": NOW - 1.09 * DAY})
    assert broken(rules.ages(just)) == []


def test_what_is_made_on_demand_is_no_promise_kept(atlas):
    """A tarball of 700 days, and none at all, were held."""
    here = seen(atlas, "mosquitto", files={"tarball": [File(found("tarball", NOW - 700 * DAY))]})
    policies = dict(here.subject.backups)
    for on_demand in ({"schedule": None, "retention": None}, {"schedule": None}):
        policies["tarball"] = policies["tarball"].model_copy(update=on_demand)
        here.subject = here.subject.model_copy(update={"backups": policies})
        assert [one.name for one in rules.ages(here)] == ["the instance runs", "newest snapshot"]
        assert "made on demand, which promises nothing: the newest is 700 d old" in noted(here)
    assert "made on demand, which promises nothing: there is none" in noted(
        replace(here, files={"tarball": []})
    )
    policies["tarball"] = policies["tarball"].model_copy(update={"retention": "2w"})
    here.subject = here.subject.model_copy(update={"backups": policies})
    assert broken(rules.retention(here)) == [
        "retention of tarballs: nothing left over: 1 older than 2w are left, from 2024-12-24"
    ]


def noted(here):
    return "; ".join(not_checked(here, None))


def test_without_a_directory_files_are_not_looked_at(atlas):
    here = seen(atlas, "step-ca")
    here.places = ()
    outcomes = {one.name: one.outcome for one in rules.ages(here)}
    assert outcomes == {
        "the instance runs": "held",
        "newest snapshot": "held",
        "newest encrypted-tarball": "not looked",
    }
    assert list(rules.files(here)) == []


def test_holes_in_the_window_are_named(atlas):
    snapshots = {str(n): NOW - n * DAY for n in (0, 1, 4, 5, 6)}
    here = seen(atlas, "mosquitto", snapshots=snapshots)
    assert broken(rules.retention(here)) == [
        "retention of snapshots: nothing missing: none between 2026-11-20 03:00 and "
        "2026-11-23 03:00"
    ]
    # Before the first one that is known, nobody can tell.
    young = seen(atlas, "mosquitto", snapshots={str(n): NOW - n * DAY for n in (0, 1, 2)})
    assert broken(rules.retention(young)) == []


def test_what_should_have_been_pruned_is_named(atlas):
    snapshots = {str(n): NOW - n * DAY for n in (*range(8), 20, 30)}
    found = broken(rules.retention(seen(atlas, "mosquitto", snapshots=snapshots)))
    assert "nothing left over: 2 older than 7d are left, from 2026-10-25" in found[-1]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=40), st.integers(1, 30))
def test_a_hole_is_named_exactly_where_one_is(hours, gap):
    times = sorted({NOW - timedelta(hours=one) for one in hours})
    named = rules.missing(times, NOW - timedelta(hours=200), timedelta(hours=gap))
    holes = sum((other - one) > timedelta(hours=gap) for one, other in pairwise(times))
    assert len(named) == holes


GOOD = {
    "snapshots.schedule": "0 0 * * *",
    "snapshots.expiry": "1w",
    "snapshots.pattern": "auto-{{ creation_date }}",
}


@pytest.mark.parametrize(
    "change, told",
    [
        ({"snapshots.schedule": "@weekly"}, "is '@weekly', the fleet file says '@daily'"),
        ({"snapshots.expiry": "5d"}, "is '5d', the fleet file says '7d'"),
        ({"snapshots.expiry": ""}, "Incus never removes a snapshot"),
        ({"snapshots.expiry": "7 days"}, "is none that Incus knows"),
        ({"snapshots.pattern": "nightly"}, "gives a name twice"),
    ],
)
def test_the_volumes_settings_are_those_of_the_fleet_file(atlas, change, told):
    assert broken(policy.snapshot_settings(seen(atlas, "mosquitto", config=GOOD))) == []
    here = seen(atlas, "mosquitto", config={**GOOD, **change})
    assert told in broken(policy.snapshot_settings(here))[0]


def test_an_expiry_below_the_schedules_gap_is_a_finding(atlas):
    service = atlas.service("mosquitto")
    short = service.backups["snapshot"].model_copy(update={"retention": "12H"})
    here = seen(atlas, "mosquitto", config={**GOOD, "snapshots.expiry": "12H"})
    here.subject = service.model_copy(update={"backups": {"snapshot": short}})
    assert "is over before the next of" in broken(policy.snapshot_settings(here))[0]


def test_a_volume_of_which_nobody_makes_snapshots_is_a_finding(atlas):
    here = seen(atlas, "mosquitto", snapshots={})
    assert broken(policy.snapshot_settings(here)) == [
        "snapshots.schedule: neither Incus nor anybody else makes any"
    ]


def test_an_instance_that_does_not_run_is_a_finding(atlas):
    here = seen(atlas, "mosquitto", status="Stopped")
    assert broken(rules.ages(here)) == ["the instance runs: mosquitto01 is Stopped"]


def test_files_that_changed_or_are_strange_or_open_are_findings(atlas):
    one = File(found("encrypted-tarball"), "x is not what was written", has_checksum=True)
    here = seen(
        atlas,
        "step-ca",
        files={"encrypted-tarball": [one]},
        unreadable=["/srv/odd.tar: odd.tar is no archive"],
        unfinished=[Path("/srv/.y.partial")],
        exposed=["/srv/x (0644)"],
    )
    assert broken(rules.files(here)) == [
        "checksums beside the files: x is not what was written",
        "every file can be read: cannot be read: /srv/odd.tar: odd.tar is no archive; "
        "an interrupted backup left half a file: /srv/.y.partial",
        "nobody else may read them: others may read /srv/x (0644)",
    ]


def test_plaintext_is_a_finding(atlas):
    one = File(found("encrypted-tarball"), not_encrypted="x is no message")
    here = seen(
        atlas, "step-ca", files={"encrypted-tarball": [one]}, plaintext=[Path("/srv/a/b.tar")]
    )
    assert broken(rules.secrecy(here)) == [
        "encrypted: x is no message",
        "no plaintext beside them: exports in the clear lie beside them: /srv/a/b.tar",
    ]


def test_a_full_volume_and_a_late_projection_are_findings(atlas):
    full = seen(atlas, "mosquitto", used_bytes=4_600_000_000)
    assert "it is almost full" in broken(rules.growth(full, None))[0]
    late = broken(rules.growth(seen(atlas, "mosquitto"), (4000.0, 1800.0)))
    assert late == ["size against RTO: projected to 977 KiB: 1 h 7 min; the target is 30 min"]


def test_the_future_is_no_age(atlas):
    ahead = seen(atlas, "mosquitto", snapshots={"a": NOW + 3 * DAY, "b": NOW - 30 * DAY})
    assert broken(rules.ages(ahead)) == [
        "newest snapshot: it is dated 3 d in the future, so that its age is not known"
    ]
    near = seen(atlas, "mosquitto", snapshots={"a": NOW + timedelta(minutes=4)})
    assert broken(rules.ages(near)) == []


def test_an_expiry_counts_for_snapshots_by_hand_as_well(atlas):
    def expiry_findings(config):
        return broken(policy.snapshot_settings(seen(atlas, "mosquitto", config=config)))

    assert expiry_findings({"snapshots.expiry": "1d"}) == [
        "snapshots.expiry: Incus removes snapshots after '1d', the fleet file keeps them for '7d'"
    ]
    assert expiry_findings({"snapshots.expiry": "1d", "snapshots.expiry.manual": "7d"}) == []
    assert expiry_findings({"snapshots.expiry": "7d", "snapshots.expiry.manual": "1H"}) == [
        "snapshots.expiry.manual: Incus removes snapshots after '1H', the fleet file keeps them "
        "for '7d'"
    ]


def test_nothing_is_held_of_no_files(atlas):
    here = seen(atlas, "loki", files={})
    names = {one.name for look in (rules.files, rules.secrecy) for one in look(here)}
    assert names == {"every file can be read", "nobody else may read them"}
    names = {one.name for one in rules.secrecy(seen(atlas, "step-ca"))}
    assert names == {"no plaintext beside them"}


def test_a_volumes_own_limit_counts_as_incus_writes_it(atlas):
    small = seen(atlas, "mosquitto", used_bytes=950_000_000, config={"size": "1GB"})
    assert "of 954 MiB used: it is almost full" in broken(rules.growth(small, None))[0]
    roomy = seen(atlas, "mosquitto", used_bytes=950_000_000, config={"size": "5GB"})
    assert broken(rules.growth(roomy, None)) == []


def test_advice_can_be_typed(atlas):
    (one,) = policy.snapshot_settings(seen(atlas, "loki", snapshots={}, place="l v"))
    assert (one.advice or "").startswith(
        "incus storage volume set l v snapshots.schedule='@weekly'"
    )
