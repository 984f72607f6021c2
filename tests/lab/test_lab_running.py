"""The lab of this run: how its ports are reached, and what its Incus takes as settings."""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from fixtures.clock import NotYet, wait_until
from fixtures.errors import LabError
from fixtures.lab import settings
from fixtures.lab.daemon import Client
from fixtures.lab.lab import Lab

TABLE = yaml.safe_load((Path(__file__).parents[1] / "cases" / "snapshot_settings.yaml").read_text())
VOLUMES = "/1.0/storage-pools/local/volumes/custom"

pytestmark = pytest.mark.skipif(
    not settings.from_environment().has_buckets, reason="measured on Incus 7.0; 6.0 is another one"
)


@pytest.fixture
def client(drill_project):
    """The lab's server; the volumes of these tests are in its default project."""
    lab = Lab()
    assert str(lab.socket) == drill_project.endpoint
    return Client(lab.socket)


@pytest.fixture
def make(client):
    made = []

    def volume(**config):
        made.append(f"settings-{secrets.token_hex(4)}")
        body = {"name": made[-1], "type": "custom", "content_type": "filesystem", "config": config}
        client.call("POST", VOLUMES, body)
        return made[-1]

    yield volume
    for name in made:
        for snapshot in client.call("GET", f"{VOLUMES}/{name}/snapshots"):
            client.call("DELETE", quote(snapshot))
        client.call("DELETE", f"{VOLUMES}/{name}")


def takes(client, volume, **config):
    try:
        client.call("PATCH", f"{VOLUMES}/{volume}", {"config": config})
    except LabError as error:
        assert re.search("Invalid value|Overflow|Invalid integer", error.message)
        return False
    return True


def test_incus_takes_what_the_table_says(client, make):
    volume = make()
    schedule, expiry = TABLE["schedule"], TABLE["expiry"]
    for key, taken, values in (
        ("snapshots.schedule", True, [*schedule["taken"], *schedule["not_read_here"]]),
        ("snapshots.schedule", False, filter(None, schedule["refused"])),
        ("snapshots.expiry", True, expiry["taken"]),
        ("snapshots.expiry", False, expiry["refused"]),
        ("snapshots.pattern", True, [one for kind in TABLE["pattern"].values() for one in kind]),
        ("size", True, TABLE["size"]["no_limit"]),
        ("size", False, TABLE["size"]["refused"]),
    ):
        for value in values:
            assert (key, value, takes(client, volume, **{key: value})) == (key, value, taken)


def test_incus_makes_the_snapshots_that_the_table_says(client, make):
    """By hand and without a name, for which Incus uses the pattern as its schedule does.

    A pattern with blanks in it is refused by hand alone.
    """

    def made(pattern):
        volume = make(**{"snapshots.pattern": pattern})
        for number in range(2):
            try:
                client.call("POST", f"{VOLUMES}/{volume}/snapshots", {"name": ""})
            except LabError as error:
                assert re.search(
                    "Couldn't determine|already exists|Invalid storage volume", error.message
                )
                return number
        return 2

    wanted = {"makes": 2, "makes_one": 1, "makes_none": 0}
    for kind, patterns in TABLE["pattern"].items():
        for pattern in patterns:
            if not re.search(r"creation_date *}}|15-04", pattern):
                assert (pattern, made(pattern)) == (pattern, wanted[kind])


def must_all_be_in(network):
    for path in Path("/proc/self/task").glob("*/ns/net"):
        with suppress(OSError):
            if (seen := os.readlink(path)) != network:
                raise NotYet(f"{path} is {seen}")


def test_dial_leaves_this_process_in_its_own_network(client):
    lab, before = Lab(), os.readlink("/proc/self/ns/net")
    with lab.dial(settings.S3_PORT) as connection:
        assert connection.getpeername() == ("127.0.0.1", settings.S3_PORT)
        # A joined thread may take a moment to leave the kernel's list.
        wait_until(
            lambda: must_all_be_in(before), label="all threads in their own network", timeout=2
        )
    with pytest.raises(ConnectionRefusedError):
        lab.dial(1)
    with pytest.raises(LabError, match="the lab lab-none is not up"):
        Lab("lab-none").dial(1)
    assert f"buckets on 127.0.0.1:{settings.S3_PORT}" in str(lab.status())
