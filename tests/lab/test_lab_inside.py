"""Commands, files and connections inside an instance, against a real Incus."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fixtures.errors import IncusError
from fixtures.incus import tunnel
from fixtures.incus.client import Incus
from fixtures.incus.guard import DrillPolicy
from fixtures.incus.instance import Instance, Shell
from fixtures.incus.project import DrillProject
from fixtures.incus.volumes import Volume

RUN, PORT = "20260101-000000-inside", 1883


@pytest.fixture(scope="module")
def room(drill_project):
    project = DrillProject(Incus(drill_project.endpoint, DrillPolicy(RUN)), RUN, f"drill-{RUN}-x")
    yield project.create("local")
    project.delete()


@pytest.fixture(scope="module")
def made(room):
    instance = Instance(room, "mosquitto01")
    instance.create("mosquitto", {}, {})
    return instance


@pytest.fixture
def instance(made, room):
    """The running instance by an object of its own, with nothing open into it."""
    if made.status() != "Running":
        made.start()
        made.wait_until_usable()
        made.close_shell()
    own = Instance(room, made.name)
    yield own
    own.close_shell()


@pytest.mark.parametrize(
    ("argv", "rc", "stdout", "stderr"),
    [
        (["true"], 0, "", ""),
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
    assert [instance.exec(argv).rc for argv in (["no-such-program"], ["/etc"])] == [127, 126]


@pytest.mark.parametrize("sizes", [(3_000_000, 2_000_001), (65_535, 65_536), (65_536, 1), (0, 9)])
def test_outputs_of_any_size_are_complete_and_separate(instance, sizes):
    out, err = sizes
    done = instance.exec(["sh", "-c", f"yes ou | head -c {out}; yes er | head -c {err} >&2"])
    assert (done.stdout, done.stderr) == (("ou\n" * out)[:out], ("er\n" * err)[:err])
    assert instance.exec(["echo", "next"]).stdout == "next\n"


def test_no_command_leaves_anything_to_the_next_or_in_the_instance(instance):
    instance.exec(["sh", "-c", "cd /etc; export LEFT=1; exec 7>/dev/null"])
    seen = instance.exec(["sh", "-c", "pwd; echo ${LEFT:-none}; ls /proc/self/fd"]).stdout.split()
    # 3 is the directory that ls reads.
    assert seen == ["/root", "none", "0", "1", "2", "3"]
    assert instance.exec(["sh", "-c", "ls -A /var/tmp /run | grep atlas"]).stdout == ""
    instance.close_shell()
    deadline = time.monotonic() + 5
    count = "grep -lz [m]apfile /proc/[0-9]*/cmdline | wc -l"
    while instance.exec(["sh", "-c", count]).stdout.strip() != "1":
        assert time.monotonic() < deadline, "the closed shell still runs"
        time.sleep(0.1)


def test_threads_share_the_shell_and_each_gets_its_own_answer(instance):
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: instance.exec(["echo", str(n)]), range(200)))
        assert [result.stdout for result in done] == [f"{n}\n" for n in range(200)]
        shell, is_alive = instance._shell, []
        large = pool.submit(instance.exec, ["sh", "-c", "yes | head -c 30000000"])
        while not large.done():
            is_alive.append(shell.is_alive)
            time.sleep(0.002)
    assert len(is_alive) > 10 and all(is_alive), "a shell that answers another thread is alive"
    assert len(large.result().stdout) == 30_000_000
    assert instance._shell is shell


def test_a_late_answer_is_not_taken_for_another_one(instance):
    with pytest.raises(IncusError, match="run sh in instance mosquitto01: .*did not end in time"):
        instance.exec(["sh", "-c", "sleep 1; echo late"], timeout=0.2)
    assert instance.exec(["echo", "next"]).stdout == "next\n"


def test_an_instance_that_died_is_reported_and_a_started_one_is_usable_again(instance, room):
    instance.exec(["true"])
    Instance(room, instance.name).kill()
    with pytest.raises(IncusError, match="in instance mosquitto01"):
        instance.exec(["true"])
    instance.start()
    assert instance.exec(["echo", "again"]).stdout == "again\n"
    killer = threading.Timer(0.3, Instance(room.clone(), instance.name).kill)
    killer.start()
    begun = time.monotonic()
    with pytest.raises(IncusError, match="the shell in instance mosquitto01 has ended"):
        instance.exec(["sleep", "20"])
    assert time.monotonic() - begun < 15
    killer.join()


def test_without_bash_there_is_no_shell(instance, room):
    instance.must_exec(["mv", "/bin/bash", "/bin/bash.away"])
    instance.close_shell()
    try:
        with pytest.raises(IncusError, match=r"in instance mosquitto01.* no bash in it"):
            Shell(room, instance.name)
    finally:
        body = {"command": ["mv", "/bin/bash.away", "/bin/bash"], "wait-for-websocket": False}
        room.post("instances", instance.name, "exec", body=body)
    assert instance.exec(["echo", "back"]).stdout == "back\n"


def test_a_dial_waits_inside_until_the_service_listens(instance, room, monkeypatch):
    instance.must_exec(["systemctl", "stop", "mosquitto"])
    for patience in (0.0, 0.1):
        with pytest.raises(ConnectionRefusedError, match="nothing listens on port 1883"):
            instance.dial(PORT, patience=patience)
    other = Instance(room.clone(), instance.name)
    starter = threading.Timer(0.3, other.exec, [["systemctl", "start", "mosquitto"]])
    starter.start()
    with instance.dial(PORT, patience=10) as connection:
        assert connection.fileno() >= 0
    starter.join()
    other.close_shell()
    monkeypatch.setattr(tunnel, "RELAY", f"sleep 2\n{tunnel.RELAY}")
    with instance.dial(PORT, patience=0.5) as connection:
        assert connection.fileno() >= 0, "a relay that begins late says nothing of the port"
    monkeypatch.setattr(tunnel, "GRACE_SECONDS", 1.0)
    with pytest.raises(ConnectionRefusedError, match="no relay has begun for port 1883"):
        instance.dial(PORT, patience=0.5)


def test_a_failed_start_says_what_its_log_says(room):
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
