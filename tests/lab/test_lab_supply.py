"""Needs root and Linux: a run waits for what its drills need, and for nothing else.

In a copy of the checkout with recipes of its own: one that cannot be built, one that takes a while.
The cache is the machine's own; of the recipes here it gets nothing, or what is removed again.
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
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from fixtures.errors import RecoveryFailed
from fixtures.fleet.load import load_fleet
from fixtures.incus.client import Incus
from fixtures.incus.guard import OwnServerPolicy
from fixtures.incus.inventory import compare, inventory
from fixtures.lab import golden, images, settings, supply
from fixtures.lab.cache import Cache, Progress, remove
from fixtures.lab.lab import Lab
from fixtures.recovery.source import Source, as_furnished
from tests.faults.conftest import WITH_SIGINT

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="the lab needs root on Linux: it makes namespaces, mounts and loop devices",
)
REPO = Path(__file__).parents[2]
PARTS = ("drills", "fixtures", "fleets", "docs", "conftest.py", "pyproject.toml")
RECIPE = """name = "{name}"
kind = "instance"
description = "of a test"
suite = "trixie"
packages = [{packages}]
"""
BROKEN, SLOW = "of-a-test-broken", "of-a-test-slow"


@dataclass
class Checkout:
    """A copy of this checkout, with a lab of its own."""

    home: Path

    @property
    def environment(self):
        return {
            **os.environ,
            "ATLAS_DRILLS_STATE": str(self.home / "s"),
            "PYTHONPATH": str(self.home),
        }

    def fleet(self, *services, **images):
        """A fleet of some services of Atlas, some with other images."""
        whole = yaml.safe_load((REPO / "fleets" / "atlas.yaml").read_text())
        chosen = {one["name"]: one for one in whole["services"] if one["name"] in services}
        whole["services"] = [chosen[name] for name in services]
        for one in whole["services"]:
            one.pop("depends_on", None)
            one["image"] = images.get(one["name"], one["image"])
        whole["buckets"] = []
        file = self.home / "fleet.yaml"
        file.write_text(yaml.safe_dump(whole))
        return file

    def start(self, *options):
        """`pytest drills` in a process of its own."""
        command = [
            *WITH_SIGINT,
            sys.executable,
            "-m",
            "pytest",
            "drills",
            f"--fleet={self.home}/fleet.yaml",
        ]
        command += [f"--reports={self.home}/reports", "-p", "no:cacheprovider", *options]
        return subprocess.Popen(
            command,
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options, seconds=280):
        """Run to the end; returns status, output and evidence."""
        process = self.start(*options)
        output, _ = process.communicate(timeout=seconds)
        newest = max(self.home.glob("reports/*/evidence.json"), key=lambda one: one.stat().st_mtime)
        return process.returncode, output, json.loads(newest.read_text())

    def lab(self):
        """The lab of these runs."""
        return Lab(config=settings.from_environment(self.environment))


@pytest.fixture
def checkout():
    # Short, since the path of a Unix socket is.
    home = Path(tempfile.mkdtemp(prefix="atlas-cold-", dir="/var/tmp"))
    for part in PARTS:
        copy = shutil.copytree if (REPO / part).is_dir() else shutil.copyfile
        copy(REPO / part, home / part)
    recipes = home / "fixtures" / "lab" / "recipes"
    (recipes / f"{BROKEN}.toml").write_text(
        RECIPE.format(name=BROKEN, packages='"no-such-package-of-a-test"')
    )
    (recipes / f"{SLOW}.toml").write_text(RECIPE.format(name=SLOW, packages='"less"'))
    made = Checkout(home)
    yield made
    made.lab().down()
    shutil.rmtree(home)
    config = settings.from_environment()
    cache = Cache(config.cache, Progress(lambda _: None))
    bare = images.plan(cache, replace(config, images=()))
    for tarball in (config.cache / "images").glob(f"{SLOW}-*.tar.zst"):
        remove(golden.path(cache, replace(bare, images={SLOW: tarball})))
    for left in config.cache.glob(f"*/*{SLOW}*"):
        remove(left)


def test_a_golden_state_whose_image_was_deleted_from_the_cache_is_not_taken(tmp_path):
    """What is noted of an image lies beside its tarball: without, the evidence could not say it."""
    config = settings.from_environment({"ATLAS_DRILLS_CACHE": str(tmp_path)})
    config = replace(config, images=("mosquitto",))
    cache = Cache(tmp_path, Progress(lambda _: None))
    whole = images.plan(cache, config)
    (tarball,) = whole.images.values()
    whole.rootfs.mkdir(parents=True)
    golden.path(cache, whole).mkdir(parents=True)
    ours = supply.Supply(config, lambda _: None, ["mosquitto"], "t")
    assert ours.ground().images == {}
    tarball.parent.mkdir()
    tarball.touch()
    assert ours.ground().images == {"mosquitto": tarball}


def verdicts(evidence):
    return {(one["service"], one["origin"]): one["verdict"] for one in evidence["drills"]}


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_an_image_that_cannot_be_built_fails_the_drills_that_need_it_alone(checkout, options):
    """1. Its service comes first in the fleet. 2. The other is drilled first, and recovers."""
    checkout.fleet("alertmanager", "mosquitto", alertmanager=BROKEN)
    status, output, evidence = checkout.run("-k", "snapshot and not tarball", *options)
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
            assert "no-such-package-of-a-test" in drill["reason"]
    assert any(f"image {BROKEN} was not built" in error for error in evidence["errors"])
    source = evidence["source"]
    assert (source["before"], source["changed"]) == (source["after"], [])
    assert source["before"] is not None
    assert list(evidence["images"]) and BROKEN not in evidence["images"]
    if not options:
        assert [one["service"] for one in evidence["drills"][:2]] == ["mosquitto", "mosquitto"]
        assert f"waiting for image {BROKEN}" in output


def test_a_rehearsal_leaves_the_source_project_empty(checkout):
    """There is nothing in it that a rehearsal reads; that it stays so is looked at all the same."""
    checkout.fleet("alertmanager", "mosquitto")
    lab = checkout.lab()
    lab.prepare(["mosquitto"], with_tofu=False, turn="t")
    lab.up()
    status, output, evidence = checkout.run("-k", "mosquitto and snapshot and rehearsal")
    assert status == 0, output
    assert evidence["source"]["before"] == evidence["source"]["after"] is not None
    assert evidence["source"]["changed"] == []
    seen = inventory(Incus(str(lab.socket), OwnServerPolicy(str(lab.socket))), "atlas")
    assert seen is not None
    assert {name.split()[0] for name in seen} == {"project", "profile"}


def test_what_happens_to_one_part_is_seen_while_another_is_furnished(checkout):
    """1. A part. 2. Its instance is changed by hand. 3. Another part. 4. The change is told."""
    fleet = load_fleet(checkout.fleet("alertmanager", "mosquitto"))
    lab = checkout.lab()
    lab.prepare(fleet.images, with_tofu=False, turn="t")
    lab.up()
    lab.hold(fleet.images)
    server = Incus(str(lab.socket), OwnServerPolicy(str(lab.socket)))
    source = Source(
        str(lab.socket), fleet, checkout.home / "b", lambda _: None, no_buckets, no_backups
    )
    source.prepare()
    assert source.furnish(["mosquitto"]) == {}
    before, known = inventory(server, "atlas"), source.furnished.parts
    node = server.within("atlas").api.instances["mosquitto01"]
    node.patch(json={"config": {"user.by-hand": "yes"}})
    assert source.furnish(["mosquitto", "alertmanager"]) == {}
    after = inventory(server, "atlas")
    assert "instance alertmanager01" in after
    expected = as_furnished(before, known, source.furnished.parts, fleet)
    told = compare(expected, after, datetime.now(UTC))
    assert told.changed == ["instance mosquitto01 is changed"]


def test_a_part_that_was_interrupted_is_made_again_and_the_others_stay(checkout):
    """1. A part. 2. Objects of another that no record tells of. 3. It is furnished."""
    fleet = load_fleet(checkout.fleet("alertmanager", "mosquitto"))
    lab = checkout.lab()
    lab.prepare(fleet.images, with_tofu=False, turn="t")
    lab.up()
    lab.hold(fleet.images)
    server = Incus(str(lab.socket), OwnServerPolicy(str(lab.socket)))
    source = Source(
        str(lab.socket), fleet, checkout.home / "b", lambda _: None, no_buckets, no_backups
    )
    source.prepare()
    assert source.furnish(["mosquitto"]) == {}
    within = server.within("atlas")
    order = {"name": "alertmanager01", "source": {"type": "image", "alias": "alertmanager"}}
    server.wait(within.api.instances.post(json=order))
    created = within.api.instances["mosquitto01"].get().json()["metadata"]["created_at"]
    source.prepare()
    assert source.furnish(["mosquitto", "alertmanager"]) == {}
    assert within.api.instances["mosquitto01"].get().json()["metadata"]["created_at"] == created
    devices = within.api.instances["alertmanager01"].get().json()["metadata"]["devices"]
    assert "alertmanager01-data" in {one.get("source") for one in devices.values()}
    assert set(source.furnished.parts) == {"mosquitto", "alertmanager"}


@pytest.mark.parametrize("failing", [1, 2])
def test_a_part_that_fails_is_made_once_more_and_no_oftener(checkout, failing, monkeypatch):
    """1. A service fails when it has been deployed. 2. It is removed and made again, or not."""
    fleet = load_fleet(checkout.fleet("alertmanager", "mosquitto"))
    lab = checkout.lab()
    lab.prepare(fleet.images, with_tofu=False, turn="t")
    lab.up()
    lab.hold(fleet.images)
    server, told, tries = Incus(str(lab.socket), OwnServerPolicy(str(lab.socket))), [], []
    deploy = Source._deploy

    def late(source, spec):
        deploy(source, spec)
        if spec.name == "mosquitto":
            tries.append(spec.name)
            if len(tries) <= failing:
                raise RecoveryFailed("source mosquitto01: was late")

    monkeypatch.setattr(Source, "_deploy", late)
    source = Source(
        str(lab.socket), fleet, checkout.home / "b", told.append, no_buckets, no_backups
    )
    source.prepare()
    faults = source.furnish(["mosquitto", "alertmanager"])
    assert len(tries) == 2
    assert "source mosquitto01: was late; once more, with nothing beside it" in told
    assert set(faults) == ({"mosquitto"} if failing == 2 else set())
    assert set(source.furnished.parts) == {"alertmanager", "mosquitto"} - set(faults)
    left = inventory(server, "atlas")
    assert ("instance mosquitto01" in left) is (failing == 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_an_interrupted_run_leaves_no_builder_and_nothing_that_looks_finished(checkout, number):
    """1. A run that builds is ended. 2. Its builders end. 3. The next run goes on."""
    checkout.fleet("alertmanager", alertmanager=SLOW)
    run = checkout.start("-k", "snapshot and rehearsal")
    output = read_until(run, f"image {SLOW}: building")
    wait_for(lambda: builders(), "a builder at work")
    if number == signal.SIGKILL:
        os.kill(run.pid, number)
    else:
        run.send_signal(number)
    output += run.communicate(timeout=60)[0]
    expected = -number if number == signal.SIGKILL else pytest.ExitCode.INTERRUPTED
    assert run.returncode == expected, output
    wait_for(lambda: not builders(), "no builder is left")
    kept = settings.from_environment().cache / "images"
    assert list(kept.glob(f"{SLOW}-*")) == []
    _, output, evidence = checkout.run("-k", "snapshot and rehearsal")
    assert f"image {SLOW}: done in" in output
    assert len(list(kept.glob(f"{SLOW}-*.tar.zst"))) == 1
    # There is no init in it, so that its service cannot be deployed.
    assert verdicts(evidence) == {("alertmanager", "rehearsal"): "not verified"}
    assert SLOW in evidence["images"]


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


def wait_for(is_so, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


@contextlib.contextmanager
def no_buckets():
    raise AssertionError("this fleet has no bucket")
    yield


def no_backups(services, buckets):
    """Nothing of this is restored."""
