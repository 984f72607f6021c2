"""A section reaches nothing but the lab's Incus and what it was lent."""

import socket
import time
from pathlib import Path

import pytest

from fixtures.errors import CouldNotLook
from fixtures.runbook.perform import perform
from fixtures.runbook.section import plaintext_on_disk
from fixtures.runbook.text import parse_runbook

pytestmark = pytest.mark.runbook


@pytest.fixture
def run(sandbox):
    """Perform a text, and return what it has printed, with its status."""

    def run(text, **options):
        section = parse_runbook(f"# A\n\n```bash\n{text}\n```\n").section("A")
        return perform(sandbox, section, "runbook.md", {}, **{"seconds": 60, **options})

    return run


def test_everything_removed_is_the_sandbox_alone(run, sandbox, stage, tmp_path):
    lab, lent = stage.reach().lab, tmp_path / "lent"
    lent.mkdir()
    (lent / "backup").write_text("last night's")
    sandbox.lend(lent, "/srv/backups")
    files = {path: path.lstat().st_mtime_ns for path in Path(lab.rootfs(), "etc").iterdir()}
    done = run("rm -rf --no-preserve-root / 2>/dev/null\necho gone >/srv/backups/backup")
    assert done.status != 0
    assert {path: path.lstat().st_mtime_ns for path in Path(lab.rootfs(), "etc").iterdir()} == files
    assert (lent / "backup").read_text() == "last night's"
    assert lab.status().state == "up"


FORBIDDEN = (
    *("ls /proc/1/root/", "mount -t tmpfs none /mnt", "mknod /root/disk b 254 0", "chroot / true"),
    *("unshare --mount true", "nsenter --target 1 --mount true", "ip link set lo down"),
    *("hostname production", "sysctl -w kernel.domainname=x", "losetup /dev/loop0 /etc/passwd"),
    "modprobe dummy",
)


@pytest.mark.parametrize("command", FORBIDDEN)
def test_no_power_over_the_machine(run, command):
    done = run(command)
    assert done.status != 0, done.output


def test_processes_of_the_host_are_not_seen(run):
    done = run("ls -d /proc/[0-9]* | wc -l\nkill -9 -1\necho still here")
    assert int(done.output.splitlines()[0]) < 12


def test_the_network_of_the_host_is_not_reached(run):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        done = run(f"exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]}")
        with pytest.raises(TimeoutError):
            server.accept()
    assert done.status != 0


def test_other_labs_and_files_of_the_host_are_not_seen(run, stage):
    lab = stage.reach().lab
    done = run(f"ls {lab.state_dir} {lab.state_dir.parent} {Path(__file__)}")
    assert done.status == 2
    assert done.output.count("No such file") == 3


def test_nothing_goes_on_after_the_end(run, stage, sandbox):
    done = run("(while :; do date >>/root/beat; sleep 0.05; done) &\nsleep 0.2")
    assert done.status == 0
    beat = sandbox.files / "root" / "beat"
    before = beat.read_text()
    time.sleep(0.3)
    assert beat.read_text() == before


def test_a_section_that_does_not_end_is_ended(run):
    done = run("sleep 600", seconds=1)
    assert done.status is None
    assert done.seconds < 5


def test_what_was_deleted_at_once_is_read_from_the_volume(run, sandbox):
    run("echo 'a secret of 24 letters' >x\nrm x")
    found = plaintext_on_disk(sandbox.written(), [], {"key": b"a secret of 24 letters"})
    assert ["the text of key" in each.what for each in found] == [True]
    assert not plaintext_on_disk(sandbox.written(), [], {"key": b"another of 24 letters"})


def test_sudo_runs_the_command_and_takes_its_options(run):
    done = run("sudo -n -E id -u\nsudo -u daemon id -un\nsudo A=b sh -c 'echo $A'\nsudo -- echo x")
    assert done.output.splitlines() == ["0", "daemon", "b", "x"]


def test_performing_costs_little(run):
    """Beside the section's own commands, of which this one has none."""
    # On a machine that is busy with something else, the first of them may take longer.
    assert any(run("true").seconds < 0.3 for _ in range(20))


def test_a_full_disk_begins_nothing(sandbox, monkeypatch):
    monkeypatch.setattr("fixtures.runbook.perform.SPARE_BYTES", 2**60)
    with pytest.raises(CouldNotLook, match="nothing of it was run"):
        type(sandbox)(sandbox.inside, sandbox.image.parent, Path("/")).open()
