"""The fleet's sizes, cells and schema, and that Atlas is in step with the lab's images."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.fleet.load import SCHEMA, load_fleet, schema_text
from fixtures.fleet.model import UNITS, declared_cells, parse_size

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "fixtures" / "lab" / "recipes"
ATLAS = load_fleet(ROOT / "fleets" / "atlas.yaml")


@given(st.integers(min_value=1, max_value=7), st.sampled_from(sorted(UNITS)))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * UNITS[unit]


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        size = parse_size(text)
    except ValueError as error:
        told = str(error)
    else:
        told = repr(text)
        assert 0 < size < 2**63
    assert repr(text) in told


@pytest.mark.parametrize(
    ("text", "size"), [("100GB", 10**11), ("1GiB", 2**30), ("5kB", 5000), ("5KiB", 5120), ("7", 7)]
)
def test_units_are_those_of_incus(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "0GB", "-1GB", "1.5GB", "1 GB", "1gb", "8EiB", "٣GB", "1GB\n"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_size(text)


def test_the_schema_beside_the_fleet_is_current() -> None:
    hint = "run python -m fixtures.fleet.load"
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), hint


def test_atlas_names_its_schema_first() -> None:
    first = (ROOT / "fleets" / "atlas.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema.json"


def test_atlas_agrees_with_the_images_of_the_lab() -> None:
    with_image = [service for service in ATLAS.services if service.image]
    known = {"alertmanager", "atlantis", "grafana", "loki", "mosquitto", "prometheus", "step-ca"}
    assert {s.name for s in with_image} == known
    for service in with_image:
        recipe = tomllib.loads((RECIPES / f"{service.image}.toml").read_text())
        users = {(user["name"], user["uid"], user["gid"]) for user in recipe["users"]}
        assert (service.owner.user, service.owner.uid, service.owner.gid) in users
        assert f"{service.unit}.service" in recipe["enable"]
        owners = {entry["path"]: entry.get("owner") for entry in recipe["directories"]}
        assert owners[service.volumes[0].path] == f"{service.owner.uid}:{service.owner.gid}"


def test_the_regimes_of_atlas() -> None:
    snapshots = {s.name: s.backups["snapshot"].consistency for s in ATLAS.services}
    stopped = {name for name, consistency in snapshots.items() if consistency == "stop"}
    assert stopped == {"mosquitto", "loki", "alertmanager"}
    for service in ATLAS.services:
        tarball = service.backups["tarball"]
        assert (tarball.consistency, tarball.compression) == ("stop", "zstd")
        assert tarball.why and "runbook-defects 16" in tarball.why
    assert ATLAS.service("step-ca").backups["encrypted-tarball"].offsite


def test_the_targets_are_those_of_the_runbook() -> None:
    minutes = {name: target.seconds / 60 for name, target in ATLAS.targets.items()}
    assert minutes == {
        "snapshot": 15,
        "tarball": 30,
        "encrypted-tarball": 30,
        "native": 15,
        "rebuild": 15,
        "full-rebuild": 30,
        "full-rebuild-with-data": 60,
        "key-compromise": 120,
    }
    assumed = [name for name, target in ATLAS.targets.items() if target.source == "assumed"]
    assert assumed == ["encrypted-tarball", "native"]


def test_every_declared_cell_is_there_once() -> None:
    cells = declared_cells(ATLAS)
    assert len(cells) == len(set(cells))
    rehearsed = Counter(scenario for _, scenario, origin in cells if origin == "rehearsal")
    assert rehearsed == {
        "snapshot": 7,
        "tarball": 7,
        "encrypted-tarball": 1,
        "native": 3,
        "rebuild": 7,
        "full-rebuild": 1,
        "full-rebuild-with-data": 1,
        "key-compromise": 1,
    }
    existing = {scenario for _, scenario, origin in cells if origin == "existing"}
    assert not existing & {"rebuild", "full-rebuild", "key-compromise"}
    assert {name for name, *_ in cells if name not in {s.name for s in ATLAS.services}} == {
        "atlas-terraform-state",
        "fleet",
    }
