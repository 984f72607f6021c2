"""What a fleet file may say of a service without a Python class, and how it is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from fixtures.errors import UsageError
from fixtures.fleet.load import load_fleet
from fixtures.fleet.model import filled
from fixtures.lab.settings import IMAGES
from fixtures.services.registry import SERVICES

ROOT = Path(__file__).parents[2]
POSTGRESQL = ROOT / "fleets" / "postgresql.yaml"

SMALL = """\
name: lab
pool: local
source_project: lab
services:
  - name: one
    kind: generic
    instance: one01
    unit: one
    criticality: low
    volumes:
      - name: one01-data
        path: /data
        size: 1GiB
        owner: {user: one, uid: 10, group: one, gid: 11}
    ports:
      - port: 80
    health: {protocol: tcp, port: 80}
    canary:
      write: [put, "{id}", "{value}"]
      read: [get, "{id}"]
      version: [one, --version]
    backups:
      snapshot: {consistency: live}
"""


def told(tmp_path: Path, text: str) -> list[str]:
    """The errors for a file of that content, without its name."""
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_fleet(path)
    return [line.removeprefix(f"{path}:") for line in caught.value.message.splitlines()]


def test_the_small_fleet_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(SMALL)
    canary = load_fleet(path).services[0].canary
    assert canary is not None
    assert (canary.user, canary.initialise, canary.observe, canary.absent) == (None, None, {}, ())
    assert filled(canary.write, id="a", value="b") == ["put", "a", "b"]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (
            SMALL[SMALL.index("    canary:") : SMALL.index("    backups:")],
            "",
            [
                "5:5: services[0].canary: is missing: kind generic has no other way to tell "
                "whether data came back"
            ],
        ),
        (
            "    kind: generic\n",
            "",
            [
                "16:14: services[0].health.protocol: tcp belongs to kind generic; kind one is "
                "looked at by a Python class",
                "17:5: services[0].canary: belongs to kind generic; kind one is looked at by a "
                "Python class",
            ],
        ),
        (
            "kind: generic",
            "kind: mosquitto",
            [
                "17:14: services[0].health.protocol: tcp belongs to kind generic; kind mosquitto "
                "is looked at by a Python class",
                "18:5: services[0].canary: belongs to kind generic; kind mosquitto is looked at "
                "by a Python class",
            ],
        ),
        (
            'read: [get, "{id}"]',
            'read: [get, "{id}", "{value}"]',
            ["20:7: services[0].canary.read: the placeholder {value} is not known here, only {id}"],
        ),
        (
            'read: [get, "{id}"]',
            "read: [get]",
            ["20:7: services[0].canary.read: the placeholder {id} must be in it"],
        ),
        (
            ', "{value}"]',
            ', "{valu}"]',
            [
                "19:7: services[0].canary.write: the placeholder {valu} is not known here, only "
                "{id} and {value}"
            ],
        ),
        (
            ', "{value}"]',
            "]",
            ["19:7: services[0].canary.write: the placeholder {value} must be in it"],
        ),
        (
            "[one, --version]",
            '[one, "${HOME}"]',
            [
                "21:7: services[0].canary.version: the placeholder {HOME} is not known here, "
                "only none"
            ],
        ),
        (
            "      version:",
            "      observe: {rows: [count, '{id}']}\n      version:",
            [
                "21:17: services[0].canary.observe.rows: the placeholder {id} is not known here, "
                "only none"
            ],
        ),
        (
            "      version: [one, --version]\n",
            "",
            ["18:5: services[0].canary.version: is missing"],
        ),
        (
            "      read:",
            "      rea:",
            [
                "18:5: services[0].canary.read: is missing",
                "20:7: services[0].canary.rea: is not a known key; did you mean read?",
            ],
        ),
        (
            "version: [one, --version]",
            "version: one --version",
            ["21:7: services[0].canary.version: must be a list"],
        ),
        (
            "      version:",
            "      absent: [0, 127]\n      version:",
            [
                "21:16: services[0].canary.absent[0]: should be greater than or equal to 1, not 0",
                "21:19: services[0].canary.absent[1]: should be less than or equal to 123, not 127",
            ],
        ),
        (
            "health: {protocol: tcp, port: 80}",
            "health: {protocol: tcp}",
            ["17:5: services[0].health: tcp needs a port"],
        ),
        (
            "health: {protocol: tcp, port: 80}",
            "health: {protocol: tcp, port: 80, paths: [/]}",
            ["17:5: services[0].health: tcp has no paths"],
        ),
        (
            "health: {protocol: tcp, port: 80}",
            "health: {protocol: tcp, port: 81}",
            ["17:29: services[0].health.port: port 81 is not among the service's ports"],
        ),
        (
            "health: {protocol: tcp, port: 80}",
            "health: {protocol: command, port: 80}",
            [
                "17:5: services[0].health: there is no command to run",
                "17:33: services[0].health.port: a command is not given a port; leave it out",
            ],
        ),
        (
            "health: {protocol: tcp, port: 80}",
            "health: {protocol: tcp, port: 80, command: [x]}",
            ["17:5: services[0].health: tcp runs no command"],
        ),
        (
            "health: {protocol: tcp, port: 80}",
            "health: {protocol: https, port: 80, paths: [/]}",
            [
                "17:5: services[0].health: https needs `ca` in a service of kind generic",
                "17:5: services[0].health: https needs `host` in a service of kind generic",
            ],
        ),
        (
            "health: {protocol: tcp, port: 80}",
            "health: {protocol: tcp, port: 80, ca: /etc/x}",
            [
                "17:39: services[0].health.ca: belongs to https in a service of kind generic",
            ],
        ),
        (
            "      snapshot: {consistency: live}\n",
            "      native: {consistency: live}\n    scenarios: [key-compromise]\n",
            [
                "23:7: services[0].backups.native: needs a Python class, which kind generic has "
                "not",
                "24:17: services[0].scenarios[0]: needs a Python class, which kind generic has not",
            ],
        ),
    ],
)
def test_a_wrong_field_is_told(tmp_path: Path, old: str, new: str, lines: list[str]) -> None:
    assert SMALL.count(old) == 1
    assert told(tmp_path, SMALL.replace(old, new)) == lines


def test_other_braces_are_no_placeholders(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    text = SMALL.replace("[one, --version]", "[awk, '{ print $1 }', '[0-9]{3}', '{\"a\": {}}']")
    path.write_text(text)
    canary = load_fleet(path).services[0].canary
    assert canary is not None
    assert filled(canary.version) == ["awk", "{ print $1 }", "[0-9]{3}", '{"a": {}}']


def test_a_token_is_not_filled_in_again() -> None:
    assert filled(("{id}{value}",), id="{value}", value="v") == ["{value}v"]


def test_postgresql_agrees_with_its_image() -> None:
    service = load_fleet(POSTGRESQL).services[0]
    recipe = tomllib.loads(
        (ROOT / f"fixtures/lab/recipes/{service.image}.toml").read_text(encoding="utf-8")
    )
    [user] = recipe["users"]
    assert (service.owner.user, service.owner.uid, service.owner.gid) == (
        user["name"],
        user["uid"],
        user["gid"],
    )
    assert f"{service.unit}.service" in recipe["enable"]
    assert service.kind in SERVICES


def test_a_fleet_needs_the_images_of_its_services_alone() -> None:
    assert load_fleet(POSTGRESQL).images == ("postgresql",)
    assert set(load_fleet(ROOT / "fleets" / "atlas.yaml").images) == set(IMAGES)
