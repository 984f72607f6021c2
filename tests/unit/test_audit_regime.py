"""The backup regime judged: each promise kept, and each one broken once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.audit import policy
from fixtures.audit.inventory import BackupInventory, File
from fixtures.backups.find import FoundFile
from fixtures.fleet.load import load_fleet
from fixtures.plugin.audits import not_checked

ATLAS = load_fleet(Path(__file__).parents[2] / "fleets" / "atlas.yaml")
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)
GOOD = {
    "snapshots.schedule": "0 0 * * *",
    "snapshots.expiry": "1w",
    "snapshots.pattern": "auto-{{ creation_date }}",
}


def file(days=0.0, kind="tarball", **more):
    found = FoundFile(Path("/srv/x"), kind, "step-ca01-data", NOW - days * DAY, "index")
    return File(found, **more)


def daily(*days):
    return {f"backup-{n}": NOW - n * DAY for n in days}


def seen(name="mosquitto", *, backups=None, **more):
    """Daily snapshots for eight days and a tarball, all well; `backups` change their policies."""
    known = {"snapshots": daily(*range(8)), "status": "Running", "used_bytes": 10**6}
    known["files"] = {"tarball": [file(1)]}
    subject = ATLAS.service(name)
    policies = dict(subject.backups)
    for kind, change in (backups or {}).items():
        policies[kind] = policies[kind].model_copy(update=change)
    subject = subject.model_copy(update={"backups": policies})
    return BackupInventory(subject, NOW, **{"places": (Path("/srv"),), **known, **more})


def broken(look, name="mosquitto", projected=(), **here):
    """What a check finds of a source that is as `seen` but for this."""
    found = [one for one in look(seen(name, **here), *projected) if one.outcome == "broken"]
    assert all(one.advice for one in found)
    return [f"{one.name}: {one.detail}" for one in found]


def test_what_is_kept_is_in_order():
    for look in (policy.retention, policy.snapshot_settings, policy.files, policy.secrecy):
        assert broken(look) == []
    assert broken(policy.growth, projected=[(60.0, 1800.0)]) == []
    assert [one.outcome for one in policy.ages(seen())] == ["held", "held", "held"]


@pytest.mark.parametrize(
    ("here", "found"),
    [
        ({"files": {}}, "newest tarball: there is no tarball"),
        ({"snapshots": {}}, "newest snapshot: there is no snapshot"),
        ({"snapshots": daily(1.09)}, None),
        (
            {"snapshots": daily(1.2)},
            "newest snapshot: it is 1 d 5 h old; the schedule @daily allow",
        ),
        ({"status": "Stopped"}, "the instance runs: mosquitto01 is Stopped"),
        ({"snapshots": daily(-3, 30)}, "newest snapshot: it is dated 3 d in the future"),
        ({"snapshots": daily(-4 / 1440)}, None),
    ],
)
def test_a_missing_or_old_backup_is_a_finding(here, found):
    named = broken(policy.ages, **here)
    assert len(named) == (found is not None)
    assert not named or named[0].startswith(found)


@pytest.mark.parametrize(
    ("days", "found"),
    [
        ((0, 1, 4, 5, 6), ["missing: none between 2026-11-20 03:00 and 2026-11-23 03:00"]),
        ((0, 1, 2), []),  # before the first one that is known, nobody can tell
        (
            (*range(8), 20, 30),
            [
                "missing: none between 2026-11-04 03:00 and 2026-11-17 03:00",
                "left over: 2 older than 7d are left, from 2026-10-25",
            ],
        ),
    ],
)
def test_holes_and_what_should_have_been_pruned_are_named(days, found):
    named = broken(policy.retention, snapshots=daily(*days))
    assert named == [f"retention of snapshots: nothing {each}" for each in found]


def test_files_that_changed_or_are_strange_or_open_are_findings():
    changed = file(damage="x is not what was written", has_checksum=True)
    odd, partial = "/srv/odd.tar: odd.tar is no archive", Path("/srv/.y.partial")
    here = {"files": {"encrypted-tarball": [changed]}, "exposed": ["/srv/x (0644)"]}
    assert broken(policy.files, "step-ca", unreadable=[odd], unfinished=[partial], **here) == [
        "checksums beside the files: x is not what was written",
        f"every file can be read: cannot be read: {odd}; "
        "an interrupted backup left half a file: /srv/.y.partial",
        "nobody else may read them: others may read /srv/x (0644)",
    ]


def test_plaintext_is_a_finding():
    files = {"encrypted-tarball": [file(not_encrypted="x is no message")]}
    plaintext = [Path("/srv/a/b.tar")]
    assert broken(policy.secrecy, "step-ca", files=files, plaintext=plaintext) == [
        "encrypted: x is no message",
        "no plaintext beside them: exports in the clear lie beside them: /srv/a/b.tar",
    ]


def test_a_full_volume_and_a_late_projection_are_findings():
    def growth(used, projected=None, **config):
        return broken(policy.growth, projected=[projected], used_bytes=used, config=config)

    assert "it is almost full" in growth(4_600_000_000)[0]
    # The volume's own limit counts as Incus writes it.
    assert "of 954 MiB used: it is almost full" in growth(950_000_000, size="1GB")[0]
    assert growth(950_000_000, size="5GB") == []
    late = growth(10**6, (4000.0, 1800.0))
    assert late == ["size against RTO: projected to 977 KiB: 1 h 7 min; the target is 30 min"]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (GOOD, None),
        (GOOD | {"snapshots.schedule": "@weekly"}, "is '@weekly', the fleet file says '@daily'"),
        (GOOD | {"snapshots.expiry": "5d"}, "is '5d', the fleet file says '7d'"),
        (GOOD | {"snapshots.expiry": ""}, "Incus never removes a snapshot"),
        (GOOD | {"snapshots.expiry": "7 days"}, "is none that Incus knows"),
        (GOOD | {"snapshots.pattern": "nightly"}, "gives a name twice"),
        # An expiry counts for snapshots that others make, too.
        ({"snapshots.expiry": "1d"}, "expiry: Incus removes snapshots after '1d', the fleet file"),
        ({"snapshots.expiry": "1d", "snapshots.expiry.manual": "7d"}, None),
        (
            {"snapshots.expiry": "7d", "snapshots.expiry.manual": "1H"},
            "expiry.manual: Incus removes",
        ),
    ],
)
def test_the_volumes_settings_are_those_of_the_fleet_file(config, found):
    named = broken(policy.snapshot_settings, config=config)
    assert bool(named) == (found is not None)
    assert not named or found in named[0]


def test_an_expiry_below_the_schedules_gap_and_no_snapshots_are_findings():
    config = GOOD | {"snapshots.expiry": "12H"}
    short = broken(
        policy.snapshot_settings, config=config, backups={"snapshot": {"retention": "12H"}}
    )
    assert "is over before the next of" in short[0]
    assert broken(policy.snapshot_settings, snapshots={}) == [
        "snapshots.schedule: neither Incus nor anybody else makes any"
    ]


def test_advice_can_be_typed():
    (one,) = policy.snapshot_settings(seen("loki", snapshots={}, place="l v"))
    wanted = "incus storage volume set l v snapshots.schedule='@weekly'"
    assert (one.advice or "").startswith(wanted)


def test_a_further_volume_is_not_looked_at():
    here = seen()
    data = here.subject.volumes[0]
    wal = data.model_copy(update={"name": "mosquitto01-wal", "path": "/var/wal"})
    here.subject = here.subject.model_copy(update={"volumes": (data, wal)})
    (found,) = [one for one in policy.ages(here) if one.outcome == "not looked"]
    assert found.name == "volume mosquitto01-wal at /var/wal"


@pytest.mark.parametrize("change", [{"schedule": None, "retention": None}, {"schedule": None}])
def test_what_is_made_on_demand_is_no_promise_kept(change):
    """A tarball of 700 days, and none at all, were held."""
    here = seen(files={"tarball": [file(700)]}, backups={"tarball": change})
    old = broken(policy.retention, files=here.files, backups={"tarball": change})
    assert any("tarballs: nothing left over: 1 older than 2w" in one for one in old) == (
        "retention" not in change
    )
    assert [one.name for one in policy.ages(here)] == ["the instance runs", "newest snapshot"]
    for files, newest in ((here.files, "the newest is 700 d old"), ({}, "there is none")):
        notes = not_checked(replace(here, files=files), None)
        assert f"tarball is made on demand, which promises nothing: {newest}" in notes


def test_without_a_directory_files_are_not_looked_at():
    here = seen("step-ca", places=())
    outcomes = [one.outcome for one in policy.ages(here)]
    assert outcomes == ["held", "held", "not looked"]
    assert list(policy.files(here)) == []


def test_nothing_is_held_of_no_files():
    looks = (policy.files, policy.secrecy)
    names = {one.name for look in looks for one in look(seen("loki", files={}))}
    assert names == {"every file can be read", "nobody else may read them"}
    assert {one.name for one in policy.secrecy(seen("step-ca"))} == {"no plaintext beside them"}


@given(st.lists(st.integers(0, 100), min_size=1, max_size=40), st.integers(1, 30))
def test_a_hole_is_named_exactly_where_one_is(hours, gap):
    times = sorted({NOW - timedelta(hours=one) for one in hours})
    named = policy.missing(times, NOW - timedelta(hours=200), timedelta(hours=gap))
    assert len(named) == sum(two - one > timedelta(hours=gap) for one, two in pairwise(times))
