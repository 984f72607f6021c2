"""A run builds what its drills need in front of them, and fills the source part by part.

With recipes of its own: one that cannot be built, one that takes a while. The
cache is the machine's; of the recipes here it gets nothing, or what is removed again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fixtures.errors import RecoveryFailed
from fixtures.fleet.load import load_fleet
from fixtures.incus.client import Incus
from fixtures.incus.guard import OwnServerPolicy
from fixtures.incus.inventory import compare, inventory
from fixtures.lab import images, settings
from fixtures.lab.cache import Cache, remove
from fixtures.lab.lab import Lab, golden_path
from fixtures.recovery.source import Source, with_parts_made_since
from tests.faults.conftest import WITH_SIGNALS
from tests.lab.test_lab_lifecycle import wait_for
from tests.remote.server import no_buckets, small_fleet

REPO = Path(__file__).parents[2]
RECIPE = """name = "{name}"
kind = "instance"
description = "of a test"
suite = "{suite}"
packages = ["less"]
"""
BROKEN, SLOW = "of-a-test-broken", "of-a-test-slow"


@dataclass
class Machine:
    """A place for a lab, its runs and their recipes."""

    home: Path

    @property
    def environment(self):
        own = {"STATE": self.home / "s", "RECIPES": self.home / "recipes"}
        return {**os.environ, **{f"ATLAS_DRILLS_{name}": str(path) for name, path in own.items()}}

    @property
    def config(self):
        return settings.from_environment(self.environment)

    def fleet(self, *services, **images):
        """A fleet of some services of Atlas in this order, some with other images."""

        def change(whole):
            whole["source_project"] = "atlas"
            whole["services"].sort(key=lambda one: services.index(one["name"]))
            for one in whole["services"]:
                one["image"] = images.get(one["name"], one["image"])

        return load_fleet(small_fleet(self.home / "fleet.yaml", services, change))

    def start(self, *options):
        """`pytest drills` in a process of its own."""
        argv = [*WITH_SIGNALS, sys.executable, "-m", "pytest", "-o", "testpaths=drills"]
        argv += [f"--fleet={self.home}/fleet.yaml", f"--reports={self.home}/reports"]
        return subprocess.Popen(
            [*argv, "-p", "no:cacheprovider", "-p", "tests.faults.brief", *options],
            cwd=REPO,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options, seconds=600):
        """Run to the end; returns status, output and evidence."""
        process = self.start(*options)
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        newest = max(self.home.glob("reports/*/evidence.json"), key=lambda one: one.stat().st_mtime)
        return process.returncode, output, json.loads(newest.read_text())


@pytest.fixture
def machine():
    # Short, since the path of a Unix socket is.
    home = Path(tempfile.mkdtemp(prefix="atlas-cold-", dir="/var/tmp"))
    (home / "recipes").mkdir()
    for name, suite in ((BROKEN, "no-such-suite"), (SLOW, "trixie")):
        (home / "recipes" / f"{name}.toml").write_text(RECIPE.format(name=name, suite=suite))
    made = Machine(home)
    yield made
    config = made.config
    Lab(config=config).down()
    cache = Cache(config.cache)
    planned = images.plan(cache, replace(config, images=(SLOW,)))
    for left in (golden_path(cache, planned), *config.cache.glob(f"*/*{SLOW}*")):
        remove(left)
    shutil.rmtree(home)


def verdicts(evidence):
    return {(one["service"], one["origin"]): one["verdict"] for one in evidence["drills"]}


def test_an_image_that_cannot_be_built_fails_the_drills_that_need_it_alone(machine):
    """1. Its service comes first in the fleet. 2. The other is drilled, and recovers."""
    machine.fleet("alertmanager", "mosquitto", alertmanager=BROKEN)
    status, output, evidence = machine.run("-k", "snapshot and not tarball", "-n", "2")
    assert status == pytest.ExitCode.TESTS_FAILED, output
    assert verdicts(evidence) == {
        ("mosquitto", "rehearsal"): "recovered",
        ("mosquitto", "existing"): "recovered",
        ("alertmanager", "rehearsal"): "not verified",
        ("alertmanager", "existing"): "not verified",
    }
    for drill in evidence["drills"]:
        if drill["service"] == "alertmanager":
            assert drill["reason"].startswith(f"before the loss: image {BROKEN} was not built")
            assert "no-such-suite" in drill["reason"]
    assert any(f"image {BROKEN} was not built" in error for error in evidence["errors"])
    source = evidence["source"]
    assert (source["before"], source["changed"]) == (source["after"], [])
    assert source["before"] is not None
    assert list(evidence["images"]) and BROKEN not in evidence["images"]


def test_an_interrupted_run_leaves_no_builder_and_nothing_that_seems_finished(machine):
    """1. A run that builds gets Ctrl-C. 2. The next one builds again, and is killed."""
    machine.fleet("alertmanager", alertmanager=SLOW)
    kept = machine.config.cache / "images"
    for number, status in ((signal.SIGINT, pytest.ExitCode.INTERRUPTED), (signal.SIGKILL, -9)):
        run = machine.start("-k", "snapshot and rehearsal")
        output = read_until(run, f"image {SLOW}: building")
        wait_for(lambda: builders(), "a builder at work")
        run.send_signal(number)
        output += run.communicate(timeout=60)[0]
        assert run.returncode == status, output
        wait_for(lambda: not builders(), "no builder is left")
        assert list(kept.glob(f"{SLOW}-*")) == []


@pytest.fixture
def source(machine):
    """The source project of a lab with two images, still without any part."""
    fleet = machine.fleet("alertmanager", "mosquitto")
    lab = Lab(config=machine.config, images=fleet.images)
    lab.up(wanted=fleet.images)
    lines = []
    made = Source(
        str(lab.socket), fleet, machine.home / "b", lines.append, no_buckets, lambda *_: None
    )
    made.prepare()
    return made, Incus(str(lab.socket), OwnServerPolicy(str(lab.socket))), lines


def test_a_part_that_fails_is_made_once_more_and_a_change_by_hand_is_seen(source, monkeypatch):
    """1. A part fails once. 2. It is changed by hand. 3. Another fails twice. 4. It is made."""
    made, server, lines = source
    deploy, fails, tries = Source._deploy, {"mosquitto": 1, "alertmanager": 2}, []

    def late(source, spec):
        deploy(source, spec)
        tries.append(spec.name)
        if tries.count(spec.name) <= fails[spec.name]:
            raise RecoveryFailed(f"source {spec.instance}: was late")

    monkeypatch.setattr(Source, "_deploy", late)
    assert made.ensure(["mosquitto"]) == {}
    assert tries == ["mosquitto"] * 2
    assert "source mosquitto01: was late; it is tried again, alone" in lines
    within = server.for_project("atlas")
    created = within.get("instances", "mosquitto01")["created_at"]
    before, known = inventory(server, "atlas"), made.record.parts
    within.patch("instances", "mosquitto01", body={"config": {"user.by-hand": "yes"}})
    assert set(made.ensure(["mosquitto", "alertmanager"])) == {"alertmanager"}
    assert tries.count("alertmanager") == 2
    assert set(made.record.parts) == {"mosquitto"}
    assert "instance alertmanager01" not in inventory(server, "atlas")
    # Of an interrupted attempt: an object that no record names.
    order = {"name": "alertmanager01", "source": {"type": "image", "alias": "alertmanager"}}
    within.post("instances", body=order)
    made.prepare()
    assert made.ensure(["mosquitto", "alertmanager"]) == {}
    assert within.get("instances", "mosquitto01")["created_at"] == created
    devices = within.get("instances", "alertmanager01")["devices"]
    assert "alertmanager01-data" in {one.get("source") for one in devices.values()}
    assert set(made.record.parts) == {"mosquitto", "alertmanager"}
    expected = with_parts_made_since(before, known, made.record.parts, made.fleet)
    difference = compare(expected, inventory(server, "atlas"), datetime.now(UTC))
    assert difference.changed == ["instance mosquitto01 is changed"]


def builders():
    """Command lines of whatever builds the slow image."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = process.read_bytes().decode(errors="replace").split("\0")
            if any(f".making-{SLOW}" in word for word in words):
                found.append(words)
    return found


def read_until(run, word):
    output = ""
    for line in run.stdout:
        output += line
        if word in line:
            return output
    raise AssertionError(f"ended without {word!r}:\n{output}")
