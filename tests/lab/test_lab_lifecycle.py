"""The lab against a real Incus: it comes up, survives its killers, and goes without trace.

Needs root and Linux. Uses the machine's own cache, so that only the first run ever builds; state
lives in a directory of the test, under a name of its own, so that a lab in use is not touched.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fixtures.errors import LabError
from fixtures.lab import host, settings
from fixtures.lab.commands import Client
from fixtures.lab.daemon import Daemon
from fixtures.lab.lab import Lab
from fixtures.lab.settings import IMAGES

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="the lab needs root on Linux: it makes namespaces, mounts and loop devices",
)
REPO = Path(__file__).parents[2]
NAME = f"lab-test-{os.getpid()}"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> settings.Settings:
    return replace(settings.from_environment(), state=tmp_path_factory.mktemp("s"))


@pytest.fixture
def lab(config: settings.Settings) -> Iterator[Lab]:
    made = Lab(NAME, config=config)
    yield made
    made.down()


@dataclass(frozen=True)
class Trace:
    """What a lab has on the host while it is up: namespaces, loop devices, cgroup."""

    namespaces: frozenset[str]
    loops: frozenset[tuple[str, str]]
    cgroup: Path


def trace(lab: Lab) -> Trace:
    """Look at a lab that is up; other labs of the machine are not in it."""
    pid = lab.status().pid
    assert pid is not None
    daemon = Daemon(NAME, lab.state_dir)
    own = {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("mnt", "pid", "net", "uts", "ipc")}
    inodes = {loop_inode(device) for device in host.loop_devices(lab.state_dir)}
    assert len(inodes) == 1
    return Trace(frozenset(own), frozenset(inodes), daemon.cgroup)


def loop_inode(device: str) -> tuple[str, str]:
    shown = subprocess.run(
        ["losetup", "--list", "--noheadings", "--output", "BACK-INO", device],
        capture_output=True,
        text=True,
        check=True,
    )
    return device, shown.stdout.strip()


def must_be_gone(lab: Lab, left: Trace) -> None:
    assert not lab.state_dir.exists()
    assert not left.cgroup.exists()
    for device, inode in left.loops:
        attached = subprocess.run(["losetup", device], capture_output=True).returncode == 0
        assert not attached or loop_inode(device)[1] != inode
    assert not is_inhabited(left.namespaces)


def is_inhabited(namespaces: frozenset[str]) -> bool:
    """Whether a process lives in all of these namespaces.

    All, because the kernel gives a freed number to the next namespace that anybody makes.
    """
    for process in Path("/proc").glob("[0-9]*/ns"):
        try:
            seen = {os.readlink(link) for link in process.iterdir()}
        except OSError:
            # The process ended between the listing and the look.
            continue
        if namespaces <= seen:
            return True
    return False


def room_of_the_host() -> int:
    """The limit once no lab of this test is up; a lab that was killed has left its memory."""
    labs = host.cgroup2_root().glob("atlas-drills-*")
    memory = host.RUNTIME / "inotify-before"
    if memory.exists() and not any(host.is_inhabited(each) for each in labs):
        return int(memory.read_text())
    return int(host.LIMIT.read_text())


def zombies() -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] == "Z" and int(fields[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


def wait_for(is_so: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def command(config: settings.Settings, *words: str) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        "ATLAS_DRILLS_CACHE": str(config.cache),
        "ATLAS_DRILLS_STATE": str(config.state),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "fixtures.lab", *words, "--name", NAME],
        cwd=REPO,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_lab_comes_up_is_whole_and_leaves_the_host_as_it_was(lab: Lab) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    links = sorted(os.listdir("/sys/class/net"))
    room, before = room_of_the_host(), zombies()
    assert lab.status().state == "down"
    assert lab.up() is True
    status = lab.status()
    assert (status.state, status.socket, status.images) == ("up", lab.socket, tuple(sorted(IMAGES)))
    assert status.is_current is True
    assert Path("/proc/self/mountinfo").read_text() == mounts
    left = trace(lab)
    assert is_inhabited(left.namespaces)
    lab.down()
    must_be_gone(lab, left)
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert sorted(os.listdir("/sys/class/net")) == links
    assert int(host.LIMIT.read_text()) == room
    assert zombies() <= before
    assert lab.status().state == "down"


def test_second_up_finds_it_up_and_second_down_does_nothing(lab: Lab) -> None:
    assert lab.up() is True
    pid = lab.status().pid
    assert (lab.up(), lab.status().pid) == (False, pid)
    lab.down()
    lab.down()


def test_running_instance_goes_with_the_lab(lab: Lab) -> None:
    lab.up()
    client = Client(lab.socket)
    client.call(
        "POST", "/1.0/instances", {"name": "one", "source": {"type": "image", "alias": "mosquitto"}}
    )
    client.call("PUT", "/1.0/instances/one/state", {"action": "start", "timeout": 30})
    left = trace(lab)
    lab.down()
    must_be_gone(lab, left)


def test_what_is_run_in_the_lab_sees_only_it_and_goes_with_it(config: settings.Settings) -> None:
    lab = Lab(NAME, config=config, images=("mosquitto",))
    with pytest.raises(LabError, match="is not up"):
        lab.command(["true"])
    lab.up()
    try:
        look = "incus query /1.0 >/backup/seen; env; cat /proc/self/cgroup; gpg -h; exec sleep 999"
        with subprocess.Popen(
            lab.command(["sh", "-c", look]), stdout=subprocess.PIPE, text=True
        ) as running:
            left = trace(lab)
            assert running.stdout is not None
            assert sorted(running.stdout.readline().split("=")[0] for _ in range(3)) == [
                *("HOME", "PATH", "PWD")
            ]
            lines = "".join(iter(running.stdout.readline, "\n"))
            assert "0::/commands\n" in lines
            assert '"environment"' in (lab.state_dir / "backups" / "seen").read_text()
            lab.down()
            assert running.wait(timeout=10) != 0
        must_be_gone(lab, left)
    finally:
        lab.down()


def test_two_ups_at_once_start_one_lab(lab: Lab, config: settings.Settings) -> None:
    lines: list[str] = []
    answers: list[bool] = []
    labs = [Lab(NAME, lines.append, config) for _ in range(2)]

    def bring_up(each: Lab) -> None:
        answers.append(each.up())

    threads = [threading.Thread(target=bring_up, args=(each,)) for each in labs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert sorted(answers) == [False, True]
    told = (f"waiting for pid {os.getpid()} (", "waiting for another run")
    assert any(word in line for line in lines for word in told), lines
    for each in labs:
        each.down()


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.6, 1.0, 1.5])
def test_up_recovers_from_an_up_that_was_killed(
    lab: Lab, config: settings.Settings, seconds: float
) -> None:
    """1. `up` runs. 2. It is killed some time after it took the lock. 3. `up` works."""
    with command(config, "up") as first:
        holder = config.state / f".{NAME}.holder"
        wait_for(holder.exists, "the first up holds the lab")
        time.sleep(seconds)
        first.kill()
    lab.up()
    assert lab.status().state == "up"
    left = trace(lab)
    lab.down()
    must_be_gone(lab, left)


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.35])
def test_up_recovers_from_a_down_that_was_killed(
    lab: Lab, config: settings.Settings, seconds: float
) -> None:
    """1. `down` runs. 2. It is killed some time after it took the lock. 3. `up` is whole."""
    lab.up()
    with command(config, "down") as first:
        holder = config.state / f".{NAME}.holder"
        wait_for(holder.exists, "the down holds the lab")
        time.sleep(seconds)
        first.kill()
    lab.up()
    assert lab.status().images == tuple(sorted(IMAGES))


def test_a_lab_has_the_images_that_are_wanted_and_takes_further_ones(
    config: settings.Settings,
) -> None:
    """1. A lab with one image. 2. Another is wanted of it. 3. It is killed, and goes on."""
    lines: list[str] = []
    lab = Lab(NAME, config=config, images=["mosquitto"])
    try:
        assert lab.up()
        assert (lab.status().images, lab.status().is_current) == (("mosquitto",), True)
        wider = Lab(NAME, lines.append, config, images=["mosquitto", "atlantis"])
        pid = lab.status().pid
        assert not wider.up()
        assert lines[-1] == "image atlantis: added to the running lab"
        assert wider.status().pid == pid
        assert wider.status().images == ("atlantis", "mosquitto")
        assert wider.inventory()["images"].keys() == {"atlantis", "mosquitto"}
        assert Lab(NAME, config=config).status().is_current
        lines.clear()
        assert not wider.up()
        assert lines == [f"lab {NAME}: is up already"]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: lab.status().state == "stale", "the lab is stale")
        assert lab.up()
        assert lab.inventory()["images"].keys() == {"atlantis", "mosquitto"}
    finally:
        lab.down()


def test_golden_state_killed_midway_is_made_again(
    config: settings.Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """1. A cache without golden state. 2. `up` is killed while it makes one. 3. `up` works."""
    # Short: it holds a socket.
    cache = tmp_path_factory.mktemp("c")
    for kind in ("rootfs", "images", "go-bin"):
        (cache / kind).symlink_to(config.cache / kind)
    other = replace(config, cache=cache)
    with command(other, "up") as first:
        making = cache / "golden"
        wait_for(lambda: bool(list(making.glob(".making-*/lib/disks/*.img"))), "golden state begun")
        first.kill()
    lab = Lab(NAME, config=other)
    lab.up()
    left = trace(lab)
    lab.down()
    must_be_gone(lab, left)
    assert [path.name.startswith("state-") for path in making.iterdir()] == [True]


def test_lab_whose_pid_1_was_killed_is_stale_and_keeps_its_data(lab: Lab) -> None:
    lab.up()
    Client(lab.socket).call("POST", "/1.0/projects", {"name": "keepsake"})
    pid = lab.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: lab.status().state == "stale", "the lab is stale")
    assert lab.up() is True
    projects = Client(lab.socket).call("GET", "/1.0/projects")
    assert "/1.0/projects/keepsake" in projects


def test_lab_with_a_damaged_state_is_made_afresh(lab: Lab) -> None:
    lab.up()
    pid = lab.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: lab.status().state == "stale", "the lab is stale")
    for database in (lab.state_dir / "lib" / "database").rglob("*"):
        if database.is_file():
            database.write_bytes(b"damaged")
    assert lab.up() is True
    assert lab.status().images == tuple(sorted(IMAGES))


def test_status_on_the_command_line(lab: Lab, config: settings.Settings) -> None:
    with command(config, "status", "--json") as asked:
        shown, _ = asked.communicate(timeout=60)
    assert (asked.returncode, json.loads(shown)["state"]) == (1, "down")
    lab.up()
    with command(config, "status", "--json") as asked:
        shown, _ = asked.communicate(timeout=60)
    assert (asked.returncode, json.loads(shown)["socket"]) == (0, str(lab.socket))


def test_inventory_names_the_versions(lab: Lab) -> None:
    with pytest.raises(LabError, match="is not up"):
        lab.inventory()
    lab.up()
    held = lab.inventory()
    assert held["images"]["prometheus"]["packages"]["prometheus"].startswith("2.53.")
    assert list(held["images"]["step-ca"]["go"]) == [
        "github.com/smallstep/certificates/cmd/step-ca"
    ]
    assert held["lab"]["packages"]["incus-base"].startswith(held["incus"]["version"])


def test_too_long_socket_path_is_refused(config: settings.Settings, tmp_path: Path) -> None:
    deep = replace(config, state=tmp_path / ("x" * 100))
    with pytest.raises(LabError, match="is longer than 107 bytes"):
        Lab(NAME, config=deep).up()
