"""A part that the suite adds to the lab's source is no change of it; everything else is."""

from datetime import UTC, datetime

import pytest

from fixtures.fleet.load import load_fleet
from fixtures.incus.inventory import Difference, ObjectState, compare
from fixtures.plugin.options import ROOT
from fixtures.recovery.existing import BackupFiles
from fixtures.recovery.source import (
    SourceRecord,
    credentials_of,
    is_object_of,
    keep_credentials,
    with_parts_made_since,
)
from fixtures.secrets import Secret

BEGUN = datetime.now(UTC)
PROJECT = {"project atlas": ObjectState("0"), "profile default": ObjectState("1")}
LOKI = {
    "instance loki01": ObjectState("2"),
    "state of instance loki01": ObjectState("Running"),
    "volume loki01-data on pool local": ObjectState("3", schedule="@weekly"),
    "volume loki01-data on pool local: snapshot backup-1": ObjectState("4", BEGUN, BEGUN),
}
BROKER = {
    "instance mosquitto01": ObjectState("5"),
    "volume mosquitto01-data on pool local": ObjectState("6"),
}
ATLAS = load_fleet(ROOT / "fleets" / "atlas.yaml")
STOPPED = "state of instance loki01"
BY_HAND = "volume by-hand on pool local"


def test_a_part_is_its_instance_its_volumes_and_their_snapshots():
    loki = ATLAS.service("loki")
    assert all(is_object_of(name, loki, "local") for name in LOKI)
    assert is_object_of("volume loki01-data on pool local of m2: snapshot one", loki, "local")
    others = [*PROJECT, *BROKER, "instance loki012", "volume loki01-data on pool local2"]
    assert not any(is_object_of(name, loki, "local") for name in others)
    [bucket] = ATLAS.buckets
    assert is_object_of(f"bucket {bucket.name} on pool {bucket.pool}", bucket, "local")


@pytest.mark.parametrize(
    ("changed", "value", "found"),
    [
        (STOPPED, "Stopped", [f"{STOPPED} is changed: was Running, is Stopped"]),
        ("instance mosquitto01", "other", ["instance mosquitto01 is changed"]),
        (BY_HAND, "7", [f"{BY_HAND} is new"]),
    ],
)
def test_only_what_else_happened_is_a_change(changed, value, found):
    before = with_parts_made_since({**PROJECT, **BROKER}, {}, {"loki": LOKI}, ATLAS)
    after = {**PROJECT, **BROKER, **LOKI}
    assert compare(before, after, BEGUN) == Difference()
    assert compare(before, after | {changed: ObjectState(value)}, BEGUN).changed == found


def test_a_part_that_was_there_is_compared_with_the_start_and_a_half_one_is_replaced():
    changed = {**PROJECT, **LOKI, "instance loki01": ObjectState("since changed")}
    assert with_parts_made_since(changed, {"loki": LOKI}, {"loki": LOKI}, ATLAS) == changed
    left = {**PROJECT, "volume loki01-data on pool local: snapshot backup-0": ObjectState("8")}
    before = with_parts_made_since(left, {}, {"loki": LOKI}, ATLAS)
    assert compare(before, {**PROJECT, **LOKI}, BEGUN) == Difference()


def test_what_a_service_is_read_by_is_kept_for_its_owner_alone(tmp_path):
    assert credentials_of(tmp_path, "grafana") is None
    for value in ("first password", "second password"):
        keep_credentials(tmp_path, "grafana", Secret(value))
        kept = credentials_of(tmp_path, "grafana")
        assert kept is not None and kept.reveal() == value
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.name.startswith("."), "it is no backup, and no note"
    assert BackupFiles(places=(tmp_path,)).files == []


def test_parts_are_recorded_in_a_file(tmp_path):
    file = SourceRecord(tmp_path / "source.json")
    assert (file.token, file.parts) == (None, {})
    with pytest.raises(RuntimeError, match="a part of no project"):
        file.add("loki", LOKI)
    file.begin("abc")
    file.add("loki", LOKI)
    file.add("mosquitto", BROKER)
    assert (file.token, file.parts) == ("abc", {"loki": LOKI, "mosquitto": BROKER})
    file.path.write_text('{"token": "abc", "parts"')
    assert file.token is None
