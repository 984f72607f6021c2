"""The lab against a real Incus: it comes up, survives its killers, and goes without trace.

Uses the machine's own cache, so that only the first run ever builds; state
lives in a directory of the test, under a name of its own, so that a lab in use is not touched.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fixtures.errors import LabError
from fixtures.lab import host, images, settings
from fixtures.lab.cache import Cache, read_json
from fixtures.lab.daemon import Client, Daemon
from fixtures.lab.lab import Lab

REPO = Path(__file__).parents[2]
NAME = f"lab-test-{os.getpid()}"
IMAGES = ("alertmanager", "mosquitto")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    state = tmp_path_factory.mktemp("s")
    return replace(settings.from_environment(), state=state, images=IMAGES, tofu=False)


@pytest.fixture
def lab(config):
    made = Lab(NAME, config=config)
    yield made
    made.down()


@dataclass(frozen=True)
class Trace:
    """What a lab has on the host while it is up: namespaces, loop devices, cgroup."""

    namespaces: frozenset[str]
    loops: frozenset[tuple[str, str]]
    cgroup: Path


def trace(lab):
    """Read it of a lab that is up; other labs of the machine are not in it."""
    pid = lab.status().pid
    assert pid is not None
    own = {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("mnt", "pid", "net", "uts", "ipc")}
    inodes = {loop_inode(device) for device in host.loop_devices(lab.state_dir)}
    assert len(inodes) == 1
    assert is_inhabited(frozenset(own))
    return Trace(frozenset(own), frozenset(inodes), Daemon(NAME, lab.state_dir).cgroup)


def loop_inode(device):
    argv = ["losetup", "--list", "--noheadings", "--output", "BACK-INO", device]
    return device, subprocess.run(argv, capture_output=True, text=True).stdout.strip()


def must_be_gone(lab, left):
    assert lab.status().state == "down"
    assert not lab.state_dir.exists()
    assert not left.cgroup.exists()
    for device, inode in left.loops:
        attached = subprocess.run(["losetup", device], capture_output=True).returncode == 0
        assert not attached or loop_inode(device)[1] != inode
    assert not is_inhabited(left.namespaces)


def is_inhabited(namespaces):
    """Whether a process lives in all of these namespaces.

    All, because the kernel gives a freed number to the next namespace that is made.
    """
    for process in Path("/proc").glob("[0-9]*/ns"):
        try:
            seen = {os.readlink(link) for link in process.iterdir()}
        except OSError:
            # The process has ended in between.
            continue
        if namespaces <= seen:
            return True
    return False


def own_limits():
    """The host's limits where no lab is up; what a killed lab left is restored first."""
    labs = list(host.cgroup2_root().glob("atlas-drills-*"))
    before = read_json(host.RUNTIME / "limits.json")
    if any(host.is_inhabited(each) for each in labs):
        before = {}
    return {str(each): before.get(str(each), int(each.read_text())) for each in host.LIMITS}


def wait_for(is_so, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def command(config, *words):
    script = (
        "import sys; from dataclasses import replace; from fixtures.lab import settings\n"
        "from fixtures.lab.lab import Lab\n"
        "config = replace(settings.from_environment(), images=tuple(sys.argv[2].split()))\n"
        f"lab = Lab({NAME!r}, config=replace(config, tofu=False))\n"
        "getattr(lab, sys.argv[1])()\n"
    )
    paths = {"CACHE": config.cache, "STATE": config.state}
    env = os.environ | {f"ATLAS_DRILLS_{name}": str(path) for name, path in paths.items()}
    argv = [sys.executable, "-c", script, *words, " ".join(config.images)]
    return subprocess.Popen(argv, cwd=REPO, env=env)


def kill(lab):
    """Kill PID 1 of the lab, and with it all that is in it."""
    pid = lab.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: lab.status().state == "stale", "the lab is stale")


def test_a_lab_comes_up_is_complete_and_leaves_the_host_as_it_was(lab):
    """With an instance and a command that run in it."""
    mounts = Path("/proc/self/mountinfo").read_text()
    links, limits = sorted(os.listdir("/sys/class/net")), own_limits()
    with pytest.raises(LabError, match="is not up"):
        lab.inventory()
    with pytest.raises(LabError, match="is not up"):
        lab.command(["true"])
    assert lab.status().state == "down"
    assert lab.up() is True
    status = lab.status()
    assert (status.state, status.socket, status.images) == ("up", lab.socket, IMAGES)
    assert (status.is_current, status.missing) == (True, ())
    held = lab.inventory()
    assert held["images"]["mosquitto"]["packages"]["mosquitto"].startswith("2.0.")
    assert held["lab"]["packages"]["incus-base"].startswith(held["incus"]["version"])
    assert (lab.up(), lab.status().pid) == (False, status.pid)
    client = Client(lab.socket)
    source = {"type": "image", "alias": "mosquitto"}
    client.call("POST", "/1.0/instances", {"name": "one", "source": source})
    client.call("PUT", "/1.0/instances/one/state", {"action": "start", "timeout": 30})
    assert all(int(each.read_text()) >= wanted for each, wanted in host.LIMITS.items())
    assert Path("/proc/self/mountinfo").read_text() == mounts
    left = trace(lab)
    must_see_only_the_lab(lab)
    must_be_gone(lab, left)
    lab.down()
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert sorted(os.listdir("/sys/class/net")) == links
    others = [each for each in host.cgroup2_root().glob("atlas-drills-*") if each != left.cgroup]
    if not any(host.is_inhabited(each) for each in others):
        assert {str(each): int(each.read_text()) for each in host.LIMITS} == limits


def must_see_only_the_lab(lab):
    """Run a command in the lab: it sees nothing else, and ends with it, which is taken down."""
    script = "incus query /1.0 >/backup/seen; env; cat /proc/self/cgroup; gpg -h; exec sleep 999"
    argv = lab.command(["sh", "-c", script], {"TERM": "dumb"})
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        names = sorted(running.stdout.readline().split("=")[0] for _ in range(4))
        assert names == ["HOME", "PATH", "PWD", "TERM"]
        assert "0::/commands\n" in "".join(iter(running.stdout.readline, "\n"))
        assert '"environment"' in (lab.state_dir / "backups" / "seen").read_text()
        lab.down()
        assert running.wait(timeout=10) != 0


def test_two_ups_at_once_start_one_lab(lab, config):
    lines = []
    answers = []
    labs = [Lab(NAME, lines.append, config) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda one: answers.append(one.up()), args=(one,)) for one in labs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert sorted(answers) == [False, True]
    waiting = (f"waiting for pid {os.getpid()} (", "waiting for another run")
    assert any(words in line for line in lines for words in waiting), lines
    for each in labs:
        each.down()


@pytest.mark.parametrize(("verb", "seconds"), [("up", 0.05), ("up", 0.8), ("down", 0.2)])
def test_up_recovers_from_what_was_killed(lab, config, verb, seconds):
    """1. `up` or `down` runs. 2. It is killed some time after it took the lock. 3. `up` works."""
    if verb == "down":
        lab.up()
    with command(config, verb) as first:
        wait_for((config.state / f".{NAME}.holder").exists, "the first one holds the lab")
        time.sleep(seconds)
        first.kill()
    lab.up()
    assert lab.status().images == IMAGES
    left = trace(lab)
    lab.down()
    must_be_gone(lab, left)


def test_a_lab_that_was_killed_is_stale_and_is_made_afresh(lab):
    """Whatever is left of it: the new one has nothing of it."""
    lab.up()
    Client(lab.socket).call("POST", "/1.0/projects", {"name": "keepsake"})
    kill(lab)
    assert lab.up() is True
    assert lab.status().images == IMAGES
    assert Client(lab.socket).call("GET", "/1.0/projects") == ["/1.0/projects/default"]


@pytest.fixture
def own_cache(config, tmp_path_factory):
    """A cache with the machine's artefacts, to which a test may add its own."""
    # Short: a golden state holds a socket.
    cache = tmp_path_factory.mktemp("c")
    (cache / "rootfs").symlink_to(config.cache / "rootfs")
    (cache / "images").mkdir()
    for path in (config.cache / "images").iterdir():
        (cache / "images" / path.name).symlink_to(path)
    return cache


def test_a_golden_state_that_was_killed_midway_is_made_again(config, own_cache):
    """1. A cache without golden state. 2. `up` is killed while it makes one. 3. `up` works."""
    other, making = replace(config, cache=own_cache), own_cache / "golden"
    with command(other, "up") as first:
        wait_for(lambda: bool(list(making.glob(".making-*/lib/disks/*.img"))), "golden state begun")
        first.kill()
    lab = Lab(NAME, config=other)
    lab.up()
    left = trace(lab)
    lab.down()
    must_be_gone(lab, left)
    assert [path.name.startswith("state-") for path in making.iterdir()] == [True]


def test_images_are_added_to_a_lab_that_is_up_and_renewed_when_their_recipe_changes(
    config, own_cache, tmp_path
):
    """1. No image. 2. Two are wanted, one by one. 3. Another recipe. 4. A vendor is away."""
    lines = []
    shutil.copytree(settings.RECIPES, tmp_path / "r")
    recipes = (tmp_path / "r", settings.RECIPES)
    config = replace(config, cache=own_cache, recipes=recipes)
    lab = Lab(NAME, lines.append, config)
    try:
        assert Lab(NAME, config=config, images=()).up()
        pid = lab.status().pid
        assert lab.status().images == ()
        for count, name in enumerate(IMAGES, 1):
            lab.ensure_images([name])
            assert lines[-1] == f"image {name}: added to the running lab"
            assert lab.status().images == IMAGES[:count]
        lines.clear()
        assert not lab.up()
        assert lines == [f"lab {NAME}: is up already"]
        was = images.tarball_of(Cache(own_cache), settings.load_recipe("mosquitto", recipes))
        with (tmp_path / "r/files/mosquitto/mosquitto.conf").open("a") as file:
            file.write("# changed\n")
        # In the place of a build: the same image under the key of the changed recipe.
        becomes = images.tarball_of(Cache(own_cache), settings.load_recipe("mosquitto", recipes))
        becomes.symlink_to(was)
        assert lab.status().is_current is False
        lab.ensure_images(IMAGES)
        assert (lab.status().pid, lab.status().images) == (pid, IMAGES)
        assert lines[-1] == "image mosquitto: added to the running lab"
        assert lab.status().is_current is True
        write_recipe(tmp_path / "r", "away", "grafana", key="http://127.0.0.1:1/key")
        lines.clear()
        lab.ensure_images(["away"])
        assert lines == ["away: the vendor cannot be reached; its drills are skipped"]
        reason = "the vendor's package could not be fetched (http://127.0.0.1:1/key: [Errno 111] "
        assert lab.missing() == {"away": f"{reason}Connection refused)"}
        assert f"no image away: {reason}" in str(lab.status())
        write_recipe(tmp_path / "r", "broken", "mosquitto", suite="no-such-suite")
        for _ in range(2):
            with pytest.raises(LabError, match="^image broken was not built: recipe broken: root"):
                lab.ensure_images(["mosquitto", "broken"])
        lab.ensure_images(["away"])
        assert [line for line in lines if line.startswith(("away", "image broken: bui"))] == [
            "away: the vendor cannot be reached; its drills are skipped",
            "image broken: building",
        ], "neither is tried twice"
    finally:
        lab.down()


def write_recipe(directory, name, original, **changes):
    """Write a recipe like another one, with some other values."""
    text = (directory / f"{original}.toml").read_text()
    for key, value in {"name": name, **changes}.items():
        text = re.sub(rf'^{key} = ".*"', f'{key} = "{value}"', text, count=1, flags=re.MULTILINE)
    (directory / f"{name}.toml").write_text(text)


def test_a_path_that_is_too_long_for_a_socket_is_refused(config, tmp_path):
    deep = replace(config, state=tmp_path / ("x" * 100))
    with pytest.raises(LabError, match="is longer than 107 bytes"):
        Lab(NAME, config=deep).up()
