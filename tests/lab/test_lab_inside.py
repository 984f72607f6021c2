"""The ways into an instance, against a real Incus: the kept shell, and a dial that goes on.

Needs root and Linux; the lab is one of the test's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from fixtures.errors import CouldNotLook, IncusError
from fixtures.incus import instance as instance_module
from fixtures.incus import tunnel
from fixtures.incus.client import Incus
from fixtures.incus.guard import DrillPolicy
from fixtures.incus.instance import Instance, Shell
from fixtures.incus.project import DrillProject
from fixtures.incus.volumes import Volume
from fixtures.lab import settings
from fixtures.lab.lab import Lab

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="the lab needs root on Linux: it makes namespaces, mounts and loop devices",
)
RUN, PORT = "20260101-000000-inside", 1883


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    config = replace(settings.from_environment(), state=tmp_path_factory.mktemp("s"))
    lab = Lab(f"lab-inside-{os.getpid()}", config=config)
    lab.up()
    project = DrillProject(Incus(str(lab.socket), DrillPolicy(RUN)), RUN, f"drill-{RUN}-x")
    yield project.create("local")
    project.delete()
    lab.down()


@pytest.fixture(scope="module")
def running(room):
    instance = Instance(room, "mosquitto01")
    instance.create("mosquitto", {}, {})
    instance.start()
    instance.wait_until_usable()
    instance.hang_up()
    return instance


@pytest.fixture
def instance(running, room):
    """The running instance by an object of its own, with nothing open into it."""
    if running.status() != "Running":
        running.start()
        running.wait_until_usable()
        running.hang_up()
    made = Instance(room, running.name)
    yield made
    made.hang_up()


@pytest.mark.parametrize(
    ("argv", "rc", "stdout", "stderr"),
    [
        (["true"], 0, "", ""),
        (["sh", "-c", "exit 3"], 3, "", ""),
        (["sh", "-c", "echo out; echo err >&2; exit 1"], 1, "out\n", "err\n"),
        (["printf", "%s|", "a b", "", "c\nd", "'", "$(id)"], 0, "a b||c\nd|'|$(id)|", ""),
        (["printf", "%s", "\u00e4"], 0, "\u00e4", ""),
        (["printf", r"no end\0of line"], 0, "no end\0of line", ""),
        (["sh", "-c", r"echo out; printf 'no\0text' >&2"], 0, "out\n", "no\0text"),
        (["sh", "-c", "echo ${LC_ALL-unset}"], 0, "unset\n", ""),
        (["cat"], 0, "", ""),
        (["sh", "-c", "kill -9 $$"], 137, "", ""),
    ],
)  # fmt: skip
def test_a_command_answers_status_and_outputs(instance, argv, rc, stdout, stderr):
    for _ in range(2):
        done = instance.exec(argv)
        assert (done.rc, done.stdout, done.stderr) == (rc, stdout, stderr)


@pytest.mark.parametrize(("argv", "rc"), [(["no-such-program"], 127), (["/etc"], 126)])
def test_a_command_that_cannot_be_run_has_the_status_of_a_shell(instance, argv, rc):
    assert instance.exec(argv).rc == rc


@pytest.mark.parametrize("sizes", [(3_000_000, 2_000_001), (65_535, 65_536), (65_536, 1), (0, 9)])
def test_outputs_of_any_size_are_whole_and_apart(instance, sizes):
    out, err = sizes
    done = instance.exec(["sh", "-c", f"yes ou | head -c {out}; yes er | head -c {err} >&2"])
    assert (done.stdout, done.stderr) == (("ou\n" * out)[:out], ("er\n" * err)[:err])
    assert instance.exec(["echo", "next"]).stdout == "next\n"


def test_no_command_leaves_anything_to_the_next(instance):
    instance.exec(["sh", "-c", "cd /etc; export LEFT=1; exec 7>/dev/null"])
    seen = instance.exec(["sh", "-c", "pwd; echo ${LEFT:-none}; ls /proc/self/fd"]).stdout.split()
    assert seen[:2] == ["/root", "none"]
    # 3 is the directory that ls reads.
    assert seen[2:] == ["0", "1", "2", "3"]


def test_threads_share_the_shell_and_each_gets_its_own_answer(instance):
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: instance.exec(["echo", str(n)]), range(200)))
    assert [one.stdout for one in made] == [f"{n}\n" for n in range(200)]


def test_a_shell_that_answers_another_thread_is_no_dead_one(instance):
    instance.exec(["true"])
    shell, seen = instance._shell, []
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(instance.exec, ["sh", "-c", "yes | head -c 30000000"])
        while not large.done():
            seen.append(shell.is_alive)
            time.sleep(0.002)
    assert len(seen) > 10 and all(seen)
    assert len(large.result().stdout) == 30_000_000
    assert instance._shell is shell


def test_nothing_is_left_in_the_instance(instance):
    instance.exec(["true"])
    assert instance.exec(["sh", "-c", "ls -A /var/tmp /run | grep atlas"]).stdout == ""
    instance.hang_up()
    deadline = time.monotonic() + 5
    count = "grep -lz [m]apfile /proc/[0-9]*/cmdline | wc -l"
    while instance.exec(["sh", "-c", count]).stdout.strip() != "1":
        assert time.monotonic() < deadline, "the closed shell still runs"
        time.sleep(0.1)


def test_what_comes_too_late_is_not_taken_for_another_answer(instance):
    with pytest.raises(IncusError, match="run sh in instance mosquitto01: .*did not end in time"):
        instance.exec(["sh", "-c", "sleep 1; echo late"], timeout=0.2)
    assert instance.exec(["echo", "next"]).stdout == "next\n"


def test_an_instance_that_died_is_told_and_a_started_one_is_entered_again(instance, room):
    instance.exec(["true"])
    Instance(room, instance.name).kill()
    with pytest.raises(IncusError, match="in instance mosquitto01"):
        instance.exec(["true"])
    instance.start()
    assert instance.exec(["echo", "again"]).stdout == "again\n"


def test_an_instance_that_dies_under_a_command_is_told(instance, room):
    instance.exec(["true"])
    killer = threading.Timer(0.3, Instance(room.apart(), instance.name).kill)
    killer.start()
    begun = time.monotonic()
    with pytest.raises(IncusError, match="the shell in instance mosquitto01 has ended"):
        instance.exec(["sleep", "20"])
    assert time.monotonic() - begun < 15
    killer.join()


def test_without_a_bash_there_is_no_shell(instance, room):
    instance.must_exec(["mv", "/bin/bash", "/bin/bash.away"])
    instance.hang_up()
    try:
        with pytest.raises(IncusError, match=r"in instance mosquitto01"):
            Shell(room, instance.name)
    finally:
        node = room.api.instances[instance.name]["exec"]
        command = ["mv", "/bin/bash.away", "/bin/bash"]
        room.wait(node.post(json={"command": command, "wait-for-websocket": False}))
    assert instance.exec(["echo", "back"]).stdout == "back\n"


def test_a_dial_goes_on_and_meets_the_service_as_soon_as_it_listens(instance, monkeypatch):
    monkeypatch.setattr(tunnel, "STALE_SECONDS", 60)
    instance.must_exec(["systemctl", "stop", "mosquitto"])
    with pytest.raises(ConnectionRefusedError, match="nothing listens on port 1883"):
        instance.dial(PORT, patience=0.1)
    monkeypatch.setattr(instance_module, "Dialling", lambda *_: pytest.fail("a second relay"))
    instance.must_exec(["systemctl", "start", "mosquitto"])
    with instance.dial(PORT, patience=5) as connection:
        assert connection.fileno() >= 0
    assert instance._dialling == {}


def test_a_relay_that_is_slow_to_begin_says_nothing_of_the_port(instance, monkeypatch):
    instance.must_exec(["systemctl", "start", "mosquitto"])
    monkeypatch.setattr(tunnel, "RELAY", f"sleep 2\n{tunnel.RELAY}")
    with instance.dial(PORT, patience=0.5) as connection:
        assert connection.fileno() >= 0
    monkeypatch.setattr(tunnel, "GRACE_SECONDS", 1.0)
    with pytest.raises(ConnectionRefusedError, match="no relay has begun for port 1883"):
        instance.dial(PORT, patience=0.5)


def test_a_dial_that_nobody_waited_for_is_not_gone_on_with(instance):
    instance.must_exec(["systemctl", "stop", "mosquitto"])
    with pytest.raises(ConnectionRefusedError):
        instance.dial(PORT, patience=0.1)
    pending = instance._dialling[PORT]
    time.sleep(tunnel.STALE_SECONDS + 0.1)
    assert pending.is_stale
    with pytest.raises(ConnectionRefusedError):
        instance.dial(PORT, patience=0.1)
    assert instance._dialling[PORT] is not pending


def test_a_relay_that_ended_by_itself_is_not_kept(instance, monkeypatch):
    monkeypatch.setattr(instance_module, "PENDING_SECONDS", 0.0)
    instance.must_exec(["systemctl", "stop", "mosquitto"])
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError, match="nothing listens on port 1883"):
            instance.dial(PORT, patience=5)
    assert instance._dialling == {}


def test_without_patience_a_dial_is_refused_at_once_and_not_kept(instance):
    instance.must_exec(["systemctl", "stop", "mosquitto"])
    with pytest.raises(ConnectionRefusedError):
        instance.dial(PORT)
    assert instance._dialling == {}


def test_a_full_disk_or_a_missing_file_of_this_machine_is_told_as_such(instance, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full], check=True)
    try:
        with pytest.raises(CouldNotLook, match=f"{full}/x: on this machine: No space left"):
            instance.fetch("/bin/bash", full / "x")
    finally:
        subprocess.run(["umount", full], check=True)
    with pytest.raises(CouldNotLook, match=f"on this machine: {full}/gone: No such file"):
        instance.send(full / "gone", "/tmp/x")


def test_a_failed_start_tells_what_its_log_says(room):
    volume = Volume(room, "local", "in-the-way")
    volume.create({})
    broken = Instance(room, "broken")
    data = {"type": "disk", "pool": "local", "source": volume.name, "path": "/etc/passwd"}
    broken.create("mosquitto", {"data": data}, {})
    with pytest.raises(IncusError, match="start instance broken: .*errors of its log: .*mount"):
        broken.start()
    broken.remove()
    volume.remove()


def test_a_first_boot_runs_nothing_that_the_image_has_already(room):
    fresh = Instance(room, "mosquitto02")
    fresh.create("mosquitto", {}, {})
    fresh.start()
    fresh.wait_until_usable()
    fresh.must_exec(["systemctl", "is-system-running", "--wait"])
    updates = [f"{one}.service" for one in ("ldconfig", "systemd-sysusers", "systemd-update-done")]
    shown = fresh.must_exec(["systemctl", "show", "-p", "ConditionResult", "--value", *updates])
    generated = fresh.must_exec(["find", "/run/systemd/generator", "-mindepth", "1"])
    fresh.remove()
    assert shown.split() == ["no"] * len(updates)
    assert "getty" not in generated
