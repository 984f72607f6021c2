"""What the suite furnishes is no change of the source; everything else is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fixtures.fleet.load import load_fleet
from fixtures.fleet.model import Fleet
from fixtures.incus.inventory import Difference, Seen, compare
from fixtures.plugin.options import ROOT
from fixtures.recovery.source import Furnished, as_furnished, belongs

BEGUN = datetime.now(UTC)
PROJECT = {"project atlas": Seen("0"), "profile default": Seen("1")}
LOKI = {
    "instance loki01": Seen("2"),
    "state of instance loki01": Seen("Running"),
    "volume loki01-data on pool local": Seen("3", schedule="@weekly"),
    "volume loki01-data on pool local: snapshot backup-1": Seen("4", BEGUN, BEGUN),
}
BROKER = {"instance mosquitto01": Seen("5"), "volume mosquitto01-data on pool local": Seen("6")}


@pytest.fixture(scope="module")
def atlas() -> Fleet:
    return load_fleet(ROOT / "fleets" / "atlas.yaml")


def test_a_part_is_its_instance_its_volumes_and_their_snapshots(atlas: Fleet) -> None:
    loki = atlas.service("loki")
    assert all(belongs(name, loki, "local") for name in LOKI)
    assert belongs("volume loki01-data on pool local of m2: snapshot one", loki, "local")
    others = [*PROJECT, *BROKER, "instance loki012", "volume loki01-data on pool local2"]
    assert not any(belongs(name, loki, "local") for name in others)
    [bucket] = atlas.buckets
    assert belongs(f"bucket {bucket.name} on pool {bucket.pool}", bucket, "local")


def test_a_part_that_was_furnished_meanwhile_is_no_change(atlas: Fleet) -> None:
    before = as_furnished(PROJECT, {}, {"loki": LOKI}, atlas)
    assert compare(before, {**PROJECT, **LOKI}, BEGUN) == Difference()


def test_what_became_of_it_afterwards_is_a_change(atlas: Fleet) -> None:
    before = as_furnished(PROJECT, {}, {"loki": LOKI}, atlas)
    after = {**PROJECT, **LOKI, "state of instance loki01": Seen("Stopped")}
    told = compare(before, after, BEGUN).changed
    assert told == ["state of instance loki01 is changed: was Running, is Stopped"]
    del after["state of instance loki01"], after["instance loki01"]
    assert "instance loki01 is gone" in compare(before, after, BEGUN).changed


def test_furnishing_one_part_hides_no_change_of_another(atlas: Fleet) -> None:
    before = as_furnished({**PROJECT, **BROKER}, {}, {"loki": LOKI}, atlas)
    after = {**PROJECT, **LOKI, **BROKER, "instance mosquitto01": Seen("other")}
    assert compare(before, after, BEGUN).changed == ["instance mosquitto01 is changed"]
    stranger = {**PROJECT, **LOKI, **BROKER, "volume by-hand on pool local": Seen("7")}
    assert compare(before, stranger, BEGUN).changed == ["volume by-hand on pool local is new"]


def test_a_part_that_was_there_at_the_begin_is_compared_with_the_begin(atlas: Fleet) -> None:
    changed = {**LOKI, "instance loki01": Seen("since changed")}
    before = as_furnished({**PROJECT, **changed}, {"loki": LOKI}, {"loki": LOKI}, atlas)
    assert before == {**PROJECT, **changed}


def test_what_an_interrupted_attempt_had_left_of_it_is_replaced(atlas: Fleet) -> None:
    left = {**PROJECT, "instance loki01": Seen("unfinished")}
    before = as_furnished(left, {}, {"loki": LOKI}, atlas)
    assert compare(before, {**PROJECT, **LOKI}, BEGUN) == Difference()


def test_it_is_remembered_in_a_file(tmp_path: Path) -> None:
    file = Furnished(tmp_path / "furnished.json")
    assert (file.token, file.parts) == (None, {})
    with pytest.raises(RuntimeError, match="a part of no project"):
        file.add("loki", LOKI)
    file.begin("abc")
    file.add("loki", LOKI)
    file.add("mosquitto", BROKER)
    assert (file.token, file.parts) == ("abc", {"loki": LOKI, "mosquitto": BROKER})
    file.path.write_text('{"token": "abc", "parts"')
    assert file.token is None
