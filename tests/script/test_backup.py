"""What a run of `docs/atlas-backup.sh` makes, refuses, tells and prunes, on a real Incus."""

import hashlib
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fixtures.clock import NotYet, wait_until
from fixtures.services import prometheus
from tests.script.conftest import PASSPHRASE, SECONDS, Running, place_in

MQ = "mq mq-data snapshot=stop/7 tarball=stop/7 unit=mosquitto"
CA = "ca ca-data snapshot=live/28 encrypted=stop/28"
PROM = "prom prom-data snapshot=live/14 tsdb=live/14 unit=prometheus"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def place(machine):
    """One instance of Mosquitto; tests leave it running, with nothing but its volume."""
    made = place_in(machine, "one")
    made.make("mq")
    made.incus("exec", "mq", "--", "sh", "-c", "echo kept >/mosquitto/data/known")
    return made


@pytest.fixture(scope="module", autouse=True)
def long_stops(machine):
    """Two runs whose service needs 70 s to stop (attack 23); one is ended while it waits."""
    runs = []
    for name in ("patient", "ended"):
        place = place_in(machine, name)
        place.make("mq")
        place.services = [MQ]
        slow(place, 70)
        runs.append((place, Running(place), time.monotonic()))
    wait_for(lambda: place.notes == ["mq"], "mq is being stopped")
    runs[-1][1].send(signal.SIGTERM)
    yield runs
    for _, running, _ in runs:
        if running.process.poll() is None:
            running.send(signal.SIGTERM)
            running.end()


@pytest.fixture
def mq(place):
    place.services, place.buckets, place.more, place.environment = [MQ], [], "", ()
    for snapshot in place.snapshots("mq-data"):
        place.incus("storage", "volume", "snapshot", "delete", "local", "mq-data", snapshot)
    place.run("sh", "-c", "rm -rf /backup/one/*; ")
    assert place.state("mq") == "RUNNING"
    return place


def faults(said):
    lines, prefix = said.splitlines(), "FAILED: "
    return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]


def wait_for(is_so, what):
    def look():
        if not is_so():
            raise NotYet("not yet")

    wait_until(look, label=what, timeout=SECONDS)


def slow(place, seconds):
    """The next stop of mq takes so long; after it, stops are quick again."""
    unit = (
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
        f"ExecStop=/bin/sleep {seconds}\nTimeoutStopSec=900\n"
    )
    where = "/run/systemd/system/slow.service"
    script = f"printf '{unit}' >{where}; systemctl daemon-reload; systemctl start slow"
    place.settle("mq")
    place.incus("exec", "mq", "--", "sh", "-c", script.replace("\n", "\\n"))


def shim(place, code, program="date"):
    """The environment in which a program is a script of ours; it ends as the real one."""
    directory = place.home / "bin"
    directory.mkdir(parents=True)
    (directory / program).write_text(f'#!/bin/sh\n{code}\nexec /bin/{program} "$@"\n')
    (directory / program).chmod(0o755)
    return (f"PATH=/backup/{place.name}/bin:/usr/sbin:/usr/bin:/sbin:/bin",)


def test_all_kinds_are_made_and_can_be_restored(machine):
    """Also: in files that only root reads."""
    place = place_in(machine, "all")
    place.make("mq")
    place.make("ca", "step-ca", "/home/step")
    place.make("prom", "prometheus", "/prometheus")
    block = (
        "printf 'it 1 1767225600\\nit 2 1767225660\\n# EOF\\n' >/tmp/it && "
        "promtool tsdb create-blocks-from openmetrics /tmp/it /prometheus && "
        "chown -R prometheus:prometheus /prometheus && systemctl restart prometheus"
    )
    place.incus("exec", "prom", "-n", "-T", "--", "sh", "-ec", block)
    place.incus("exec", "ca", "--", "sh", "-c", "echo secret >/home/step/key")
    place.incus("storage", "bucket", "create", "terraform-state", "all-state")
    place.services, place.buckets = [MQ, CA, PROM], ["terraform-state all-state 30"]
    said = place.back_up()
    assert said.splitlines()[-1] == "atlas-backup: 7 made, 0 FAILED"
    files = {file.name: file for file in place.must_be_whole()}
    assert set(files) == {
        *("mq-data.tar.zst", "ca-data.tar.zst.gpg", "prom-tsdb.tar", "all-state.tar.gz")
    }
    assert place.unfinished() == []
    modes = {path.stat().st_mode & 0o777 for path in (place.backups, *place.backups.glob("*"))}
    assert modes == {0o700}
    assert {file.stat().st_mode & 0o777 for file in place.backups.glob("*/*")} == {0o600}
    for instance in ("mq", "ca", "prom"):
        assert place.state(instance) == "RUNNING"
        assert len(place.snapshots(f"{instance}-data")) == 1
    run = f"/backup/all/atlas/{files['mq-data.tar.zst'].parent.name}"
    place.run("sh", "-c", f"cd {run} && sha256sum --check --quiet *.sha256")
    place.incus("storage", "volume", "import", "local", f"{run}/mq-data.tar.zst", "back")
    assert place.snapshots("back") == place.snapshots("mq-data")
    opened = (
        f"gpg --batch --pinentry-mode loopback --passphrase-file /backup/all/passphrase -d {run}"
    )
    listed = place.run("sh", "-c", f"{opened}/ca-data.tar.zst.gpg | zstd -d | tar -t").stdout
    assert "backup/volume/key" in listed
    assert PASSPHRASE not in said
    assert prometheus.must_be_whole(files["prom-tsdb.tar"])
    left = place.incus("exec", "prom", "--", "sh", "-c", "ls /prometheus/snapshots || true")
    assert left == ""


def test_all_that_needs_a_stop_shares_one(mq):
    """And what is live is made before it."""
    mq.services = ["mq mq-data snapshot=live/7 tarball=stop/7 encrypted=stop/7"]
    log = (
        'case "$*" in *" snapshot create "*|*" export "*|*" stop mq "*|*" start mq"*) '
        'echo "$(/bin/incus list --project one -f csv -c s) $*" >>/backup/one/seen;; esac'
    )
    mq.environment = shim(mq, log, "incus")
    mq.back_up()
    verbs = ("create", "stop", "start", "export")
    seen = [
        (line.split()[0], next(verb for verb in verbs if verb in line.split()))
        for line in (mq.home / "seen").read_text().splitlines()
    ]
    assert seen == [
        *(("RUNNING", "create"), ("RUNNING", "stop")),
        *(("STOPPED", "export"), ("STOPPED", "export"), ("STOPPED", "start")),
    ]


def test_neither_plaintext_nor_passphrase_is_ever_seen(mq):
    """gpg begins late: whatever were exported to a file first would lie there until then.

    The passphrase is in no argument and in no environment of any process.
    """
    marker = os.urandom(64)
    (mq.home / "blob").write_bytes(os.urandom(1 << 20) + marker)
    mq.incus("file", "push", "/backup/one/blob", "mq/mosquitto/data/blob")
    assert mq.holding(marker) == [mq.home / "blob"]
    (mq.home / "blob").unlink()
    mq.environment = shim(mq, "sleep 3; touch /backup/one/late", "gpg")
    mq.services = ["mq mq-data encrypted=live"]
    running, seen = Running(mq), 0
    while running.process.poll() is None:
        assert mq.holding(marker) == []
        seen += look_at_processes()
    status, said = running.end()
    assert (status, (mq.home / "late").exists()) == (0, True), said
    assert seen, "gpg was never seen at work"
    mq.incus("exec", "mq", "--", "rm", "/mosquitto/data/blob")


def look_at_processes():
    """How many are gpg at work; none shows the passphrase."""
    seen = 0
    for path in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        seen += b"--symmetric" in text
        assert PASSPHRASE.encode() not in text
    return seen


def test_a_second_run_leaves_the_first_alone(mq):
    """Into another directory too (attack 27): both would stop the same services.

    `--start-stopped` waits, and finds nothing left to start.
    """
    slow(mq, 8)
    running = Running(mq)
    wait_for(lambda: mq.notes == ["mq"], "mq is being stopped")
    mq.more = "BACKUP_DIR=/backup/one/off-site"
    second = mq.back_up(status=2)
    starting = Running(mq, "--start-stopped")
    assert "another run is at work on project one; nothing was done" in second
    assert not (mq.home / "off-site").exists()
    assert mq.state("mq") == "RUNNING"
    assert running.process.poll() is None and starting.process.poll() is None
    status, said = running.end()
    assert status == 0, said
    assert starting.end() == (0, "")
    assert len(mq.files()) == 1


@pytest.mark.parametrize("what", [signal.SIGTERM, signal.SIGKILL])
def test_killed_alone_while_a_long_stop_goes_on(mq, what):
    """A start would be answered with "already running", and the stop would end later."""
    slow(mq, 5)
    running = Running(mq)
    wait_for(lambda: mq.notes == ["mq"], "mq is being stopped")
    time.sleep(1)
    os.kill(running.pid, what)
    if what == signal.SIGKILL:
        # Its program lives on, and holds the lock for it.
        assert mq.notes == ["mq"]
        assert "mq: left stopping, is started" in mq.back_up("--start-stopped")
    status, said = running.end()
    assert status in (128 + what, -what), said
    time.sleep(2)
    assert mq.state("mq") == "RUNNING"
    assert mq.notes == []


def test_the_next_run_starts_what_was_left_stopped(mq):
    """Also where that run cannot write any backup."""
    running = Running(mq)
    wait_for(lambda: mq.state("mq") == "STOPPED", "mq is stopped")
    running.send(signal.SIGKILL)
    running.end()
    assert mq.state("mq") == "STOPPED"
    mq.more = "BACKUP_DIR=/backup/one/passphrase/is-a-file"
    assert "mq: left stop" in mq.back_up(status=2)
    assert mq.state("mq") == "RUNNING"


def test_an_instance_that_does_not_run_is_reported_and_stays_so(mq):
    mq.incus("stop", "mq")
    try:
        assert [fault[:15] for fault in faults(mq.back_up(status=1))] == ["mq does not run"]
        assert mq.state("mq") == "STOPPED"
        assert [file.name for file in mq.must_be_whole()] == ["mq-data.tar.zst"]
        assert len(mq.snapshots("mq-data")) == 1
    finally:
        mq.incus("start", "mq")


def test_a_failure_stops_no_other_backup(mq):
    """No such thing; ephemeral: a stop would delete it; no passphrase; a unit that stays away."""
    mq.incus("launch", "mosquitto", "brief", "--ephemeral")
    mq.settle("brief")
    mq.services = [
        "absent absent-data snapshot=live/7 tarball=stop/7",
        "brief mq-data tarball=stop/7",
        "mq mq-data encrypted=live/7",
        MQ.replace("unit=mosquitto", "unit=nothing"),
    ]
    mq.buckets = ["terraform-state no-such-bucket 30"]
    mq.more = "PASSPHRASE_FILE=/backup/one/empty START_SECONDS=2"
    (mq.home / "empty").write_text("\n")
    said = mq.back_up(status=1)
    assert faults(said) == [
        "absent does not run: it is backed up as it is, and stays so",
        "snapshot of absent-data",
        "tarball of absent-data",
        "brief is ephemeral: a stop would delete it",
        "encrypted of mq-data",
        "mq runs again, but its unit nothing is not active after 2 s",
        "bucket of no-such-bucket",
    ]
    assert "Storage pool volume not found" in said
    assert "there is no passphrase in /backup/one/empty" in said
    assert [file.name for file in mq.must_be_whole()] == ["mq-data.tar.zst"]
    assert said.splitlines()[-1] == "atlas-backup: 2 made, 7 FAILED"
    assert mq.state("brief") == mq.state("mq") == "RUNNING"
    mq.incus("delete", "--force", "brief")


def test_a_full_disk_is_reported_and_leaves_no_half_file(mq):
    mq.run("sh", "-c", "mkdir -p /run/small; mount -t tmpfs -o size=64k,mode=700 tmpfs /run/small")
    mq.incus("exec", "mq", "--", "sh", "-c", "head -c 1000000 /dev/urandom >/mosquitto/data/big")
    mq.services = [MQ, "mq mq-data encrypted=live"]
    mq.more = "BACKUP_DIR=/run/small"
    try:
        said = mq.back_up(status=1)
        assert faults(said) == ["tarball of mq-data", "encrypted of mq-data"]
        assert "no space left on device" in said.lower()
        assert mq.state("mq") == "RUNNING"
        assert mq.run("ls", "-A", "/run/small").stdout == ""
    finally:
        mq.run("umount", "/run/small")
        mq.incus("file", "delete", "mq/mosquitto/data/big")


def test_what_is_not_understood_is_refused_and_nothing_to_back_up_is_no_success(mq):
    lines = ("mq", "mq mq-data", "mq mq-data snapshot", "mq mq-data snapshot=hot/7")
    more = ("mq mq-data tarbal=stop/7", "mq mq-data tarball=stop/0", "mq ../x tarball=stop/7")
    for line in lines + more:
        mq.services = [MQ, line]
        said = mq.back_up(status=2)
        assert f"SERVICES: not understood: {line}; nothing was done" in said
        assert not mq.backups.exists()
    mq.services = []
    mq.back_up(status=1)


def old_run(place, days, name="mq-data.tar.zst"):
    taken = datetime.now(UTC) - days * DAY
    directory = place.backups / f"{taken:%Y%m%dT%H%M%SZ}"
    directory.mkdir(parents=True, mode=0o700)
    content = f"of {days} days ago".encode()
    (directory / name).write_bytes(content)
    (directory / f"{name}.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    return directory / name


def test_snapshots_are_pruned_by_the_time_that_incus_tells(mq):
    """Their names lie here, each about its age; foreign names stay however old they are.

    The last one before this run's stays, too.
    """
    ages = {
        "backup-20200101-000000": 1.1,
        "backup-20990101-000000": 9,
        "backup-20990102-000000": 400,
        "daily-20200101": 400,
        "backup-20200101-000000-mine": 400,
    }
    for name, days in ages.items():
        mq.incus("storage", "volume", "snapshot", "create", "local", "mq-data", name)
        taken = datetime.now(UTC) - days * DAY
        age = f"UPDATE storage_volumes_snapshots SET creation_date = '{taken:%Y-%m-%d %H:%M:%S}'"
        mq.incus("admin", "sql", "global", f"{age} WHERE name = '{name}'")
    mq.services = ["mq mq-data snapshot=live/7"]
    said = mq.back_up()
    kept = {"backup-20200101-000000", "daily-20200101", "backup-20200101-000000-mine"}
    fresh = set(mq.snapshots("mq-data")) - kept
    assert kept <= set(mq.snapshots("mq-data")) and len(fresh) == 1, said
    mq.incus("storage", "volume", "snapshot", "delete", "local", "mq-data", *fresh)
    # Now all others are old.
    mq.services = ["mq mq-data snapshot=live/1"]
    mq.back_up()
    assert kept < set(mq.snapshots("mq-data"))


@pytest.mark.parametrize("shift", ["400 days", "-1 hour"])
def test_nothing_is_pruned_while_the_clocks_contradict(mq, shift):
    kept = [old_run(mq, days) for days in (1, 8, 30)]
    mq.environment = shim(
        mq,
        f"""[ "$1" != -d ] || exec /bin/date -d "$2 {shift}" "$3"
exec /bin/date -d '{shift}' "$@\"""",
    )
    (fault,) = faults(mq.back_up(status=1))
    assert fault.startswith("our clock and that of Incus are more than 5 minutes apart")
    assert all(file.exists() for file in kept)
    assert len(mq.snapshots("mq-data")) == 1


def test_old_files_of_ours_are_pruned_and_nothing_else(mq):
    """Attacks 25 and 26: links, files of others, odd names, a backup that fails this time."""
    victim = mq.home / "victim"
    victim.mkdir()
    for name in ("mq-data.tar.zst", "mq-data.tar.zst.sha256"):
        (victim / name).write_text("precious")
    young, *old = [old_run(mq, days) for days in (6, 8, 30)]
    unmade = [old_run(mq, days, "absent-data.tar.zst") for days in (1.1, 8.1, 30.1)]
    shared = old_run(mq, 31)
    (shared.parent / "notes.txt").write_text("precious")
    unsummed = mq.backups / "20200103T000000Z"
    odd = mq.backups / "2020Z"
    for directory in (unsummed, odd):
        directory.mkdir()
        (directory / "mq-data.tar.zst").write_text("precious")
    (odd / "mq-data.tar.zst.sha256").write_text("precious")
    (mq.backups / "20200101T000000Z").symlink_to("/backup/one/victim")
    dead = mq.backups / ".unfinished-one"
    dead.mkdir()
    (dead / "mq-data.tar.zst.partial").write_text("half, of a dead run")
    before = tree(mq)
    mq.services = [MQ, "mq absent-data tarball=live/7"]
    mq.back_up(status=1)
    after = tree(mq)
    wanted = {file.with_name(file.name + end) for file in (shared, *old) for end in ("", ".sha256")}
    wanted |= {file.parent for file in old}
    wanted |= {dead, dead / "mq-data.tar.zst.partial"}
    assert before.keys() - after.keys() == wanted
    assert all(after[path] == before[path] for path in before.keys() & after.keys())
    assert young.exists() and all(file.exists() for file in unmade)


def test_the_last_file_before_this_run_stays_however_old(mq):
    last, older = old_run(mq, 30), old_run(mq, 31)
    mq.back_up()
    assert last.exists() and not older.exists()


def tree(place):
    paths = [path for top in ("atlas", "victim") for path in (place.home / top).rglob("*")]
    return {
        path: path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in paths
    }


def test_waits_as_long_as_a_stop_takes(long_stops):
    """The last one here: it has begun with the first."""
    for (place, running, begun), wanted, files in zip(long_stops, (0, 143), (1, 0), strict=True):
        status, said = running.end()
        assert status == wanted, said
        assert "FAILED: " not in said
        assert time.monotonic() - begun > 70
        assert place.state("mq") == "RUNNING"
        assert place.notes == []
        assert len(place.must_be_whole()) == files
