"""What a run of `docs/atlas-backup.sh` makes, refuses, tells and prunes, on a real Incus."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import tarfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fixtures.services import tsdb_snapshot
from fixtures.waiting import NotYet, wait_until
from tests.script.conftest import PASSPHRASE, SECONDS, Place, Running, place_in

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
def long_stop(machine):
    """A run whose service needs 72 s to stop (attack 23), beside the other tests; and its begin."""
    patient = place_in(machine, "patient")
    patient.make("mq")
    patient.services = [MQ]
    slow(patient, 72)
    running, begun = Running(patient), time.monotonic()
    yield patient, running, begun
    if running.process.poll() is None:
        running.send(signal.SIGTERM)
        running.end()


@pytest.fixture
def mq(place: Place) -> Place:
    place.services, place.buckets, place.more, place.environment = [MQ], [], "", ()
    for snapshot in place.snapshots("mq-data"):
        place.incus("storage", "volume", "snapshot", "delete", "local", "mq-data", snapshot)
    place.run("sh", "-c", "rm -rf /backup/one/*; ")
    assert place.state("mq") == "RUNNING"
    return place


def lines(said: str, of: str) -> list[str]:
    return [line for line in said.splitlines() if of in line]


def test_all_kinds_are_made_and_can_be_restored(machine) -> None:
    """Also: one stop, what is live stays up, files of a mode that only root reads."""
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
    done = place.back_up()
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "atlas-backup: 7 made, 0 FAILED"
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
    assert PASSPHRASE not in done.stdout
    assert tsdb_snapshot.must_be_whole(files["prom-tsdb.tar"])
    left = place.incus("exec", "prom", "--", "sh", "-c", "ls /prometheus/snapshots || true")
    assert left == ""


def test_live_and_stopped_kinds_of_one_service(mq: Place) -> None:
    """The live snapshot is taken before the stop, the tarball within it."""
    mq.services = ["mq mq-data snapshot=live/7 tarball=stop/7"]
    mq.environment = shim(mq, "incus list --project one -f csv -c ns >>/backup/one/seen")
    done = mq.back_up()
    assert done.returncode == 0, done.stdout
    assert len(mq.snapshots("mq-data")) == 1
    # The script asks for the date only for its directory, and for a snapshot.
    assert set((mq.home / "seen").read_text().splitlines()) == {"mq,RUNNING"}
    (mq.home / "seen").unlink()
    mq.services = ["mq mq-data snapshot=stop/7"]
    assert mq.back_up().returncode == 0
    assert "mq,STOPPED" in (mq.home / "seen").read_text().splitlines()


def test_passphrase_reaches_no_argument(mq: Place) -> None:
    """Every command line of the lab, looked at while it runs; in no environment either."""
    mq.services = ["mq mq-data encrypted=stop"]
    running, seen = Running(mq), 0
    while running.process.poll() is None:
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    text = (process / name).read_bytes()
                except OSError:
                    continue
                seen += b"--symmetric" in text
                assert PASSPHRASE.encode() not in text
    assert running.end()[0] == 0
    assert seen, "gpg was never seen at work"


def test_plaintext_is_on_no_disk(mq: Place) -> None:
    """gpg begins late: whatever were exported to a file first would lie there meanwhile."""
    marker = os.urandom(64)
    (mq.home / "blob").write_bytes(os.urandom(1 << 20) + marker)
    mq.incus("file", "push", "/backup/one/blob", "mq/mosquitto/data/blob")
    assert mq.holding(marker) == [mq.home / "blob"]
    (mq.home / "blob").unlink()
    mq.environment = shim(mq, "sleep 3; touch /backup/one/late", "gpg")
    mq.services = ["mq mq-data encrypted=live"]
    running, looks = Running(mq), 0
    while running.process.poll() is None:
        assert mq.holding(marker) == []
        looks += 1
    status, said = running.end()
    assert (status, (mq.home / "late").exists()) == (0, True), said
    assert looks > 10
    mq.incus("exec", "mq", "--", "rm", "/mosquitto/data/blob")


def test_a_second_run_is_refused(mq: Place) -> None:
    """Into another directory too (attack 27): both would stop the same services."""
    running = Running(mq)
    wait_until(lambda: must(mq.notes == ["mq"]), label="mq is being stopped", timeout=SECONDS)
    mq.more = "BACKUP_DIR=/backup/one/off-site"
    second = mq.back_up()
    assert second.returncode == 2
    assert "another run is at work on project one; nothing was done" in second.stdout
    assert not (mq.home / "off-site").exists()
    status, said = running.end()
    assert status == 0, said
    assert len(mq.files()) == 1


def test_starting_what_is_stopped_leaves_a_living_run_alone(mq: Place) -> None:
    slow(mq, 15)
    running = Running(mq)
    wait_until(lambda: must(mq.notes == ["mq"]), label="mq is being stopped", timeout=SECONDS)
    begun = time.monotonic()
    second = mq.back_up("--start-stopped")
    assert (second.returncode, time.monotonic() - begun > 9) == (2, True), second.stdout
    status, said = running.end()
    assert status == 0, said


def must(is_so: bool) -> None:
    if not is_so:
        raise NotYet("not yet")


def slow(place: Place, seconds: int) -> None:
    """The next stop of mq takes so long; after it, stops are quick again."""
    unit = (
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
        f"ExecStop=/bin/sleep {seconds}\nTimeoutStopSec=900\n"
    )
    where = "/run/systemd/system/slow.service"
    script = f"printf '{unit}' >{where}; systemctl daemon-reload; systemctl start slow"
    place.settle("mq")
    place.incus("exec", "mq", "--", "sh", "-c", script.replace("\n", "\\n"))


@pytest.mark.parametrize("what", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_killed_while_a_long_stop_goes_on(mq: Place, what: signal.Signals) -> None:
    """A start would be answered with "already running", and the stop would end later."""
    slow(mq, 8)
    running = Running(mq)
    wait_until(lambda: must(mq.notes == ["mq"]), label="mq is being stopped", timeout=SECONDS)
    time.sleep(1)
    running.send(what)
    status, said = running.end()
    if what == signal.SIGKILL:
        assert mq.notes == ["mq"]
        done = mq.back_up("--start-stopped")
        assert done.returncode == 0, done.stdout
        assert "mq: runs" in done.stdout
    else:
        assert status == 128 + what, said
    time.sleep(2)
    assert mq.state("mq") == "RUNNING"
    assert mq.notes == []


def test_the_next_run_starts_what_was_left_stopped(mq: Place) -> None:
    """Also where that run cannot write any backup."""
    running = Running(mq)
    wait_until(lambda: must(mq.state("mq") == "STOPPED"), label="mq is stopped", timeout=SECONDS)
    running.send(signal.SIGKILL)
    running.end()
    assert mq.state("mq") == "STOPPED"
    mq.more = "BACKUP_DIR=/backup/one/elsewhere"
    (mq.home / "elsewhere").symlink_to("/tmp")
    done = mq.back_up()
    assert done.returncode == 2
    assert "mq: a run that was killed left it stop" in done.stdout
    assert mq.state("mq") == "RUNNING"


def test_an_instance_that_does_not_run_is_told_and_stays_so(mq: Place) -> None:
    mq.incus("stop", "mq")
    try:
        done = mq.back_up()
        assert done.returncode == 1
        (told,) = lines(done.stdout, "FAILED:")
        assert told.startswith("FAILED: mq: is not running though it is to be backed up")
        assert mq.state("mq") == "STOPPED"
        assert [file.name for file in mq.must_be_whole()] == ["mq-data.tar.zst"]
        assert len(mq.snapshots("mq-data")) == 1
    finally:
        mq.incus("start", "mq")


def test_a_failure_stops_no_other_backup(mq: Place) -> None:
    mq.services = ["nobody nobody-data snapshot=live/7 tarball=stop/7", MQ]
    mq.buckets = ["terraform-state no-such-bucket 30"]
    done = mq.back_up()
    assert done.returncode == 1
    told = [line.split(": ")[1] for line in lines(done.stdout, "FAILED: ")]
    assert told == [
        "nobody",
        "nobody-data snapshot",
        "nobody-data.tar.zst",
        "no-such-bucket.tar.gz",
    ]
    assert "not found" in lines(done.stdout, "nobody-data.tar.zst")[0]
    assert [file.name for file in mq.must_be_whole()] == ["mq-data.tar.zst"]
    assert done.stdout.splitlines()[-1] == "atlas-backup: 2 made, 4 FAILED"


def test_a_full_disk_is_told_and_leaves_no_half_file(mq: Place) -> None:
    mq.run("sh", "-c", "mkdir -p /run/small; mount -t tmpfs -o size=64k,mode=700 tmpfs /run/small")
    mq.incus("exec", "mq", "--", "sh", "-c", "head -c 1000000 /dev/urandom >/mosquitto/data/big")
    mq.services = [MQ, "mq mq-data encrypted=live"]
    mq.more = "BACKUP_DIR=/run/small"
    try:
        done = mq.back_up()
        assert done.returncode == 1
        assert len(lines(done.stdout, "FAILED: mq-data.tar.zst")) == 2
        assert "no space left on device" in done.stdout.lower()
        assert mq.state("mq") == "RUNNING"
        assert mq.run("ls", "-A", "/run/small").stdout == ""
    finally:
        mq.run("umount", "/run/small")
        mq.incus("exec", "mq", "--", "rm", "/mosquitto/data/big")


def test_a_snapshot_that_fails_is_told(mq: Place) -> None:
    """Its name is taken; the tarball of the same stop is made all the same."""
    mq.environment = shim(mq, '[ "$1" != +%Y%m%d-%H%M%S ] || { echo 20260101-000000; exit; }')
    taken = "backup-20260101-000000"
    mq.incus("storage", "volume", "snapshot", "create", "local", "mq-data", taken)
    done = mq.back_up()
    assert done.returncode == 1
    assert "already in use" in lines(done.stdout, "FAILED: mq-data snapshot")[0]
    assert [file.name for file in mq.must_be_whole()] == ["mq-data.tar.zst"]
    assert mq.snapshots("mq-data") == [taken]


@pytest.mark.parametrize(
    "spoil, told",
    [
        (lambda file: file.unlink(), "No such file"),
        (lambda file: file.write_text("\n"), "is empty, or others may read it"),
        (lambda file: file.chmod(0o640), "is empty, or others may read it"),
    ],
    ids=["missing", "empty", "open"],
)
def test_no_encrypted_backup_without_a_passphrase(mq: Place, spoil, told: str) -> None:
    mq.services = ["mq mq-data encrypted=live/7"]
    argv = mq.script()
    spoil(mq.home / "passphrase")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 1
    assert told in lines(done.stdout, "FAILED: mq-data.tar.zst.gpg")[0]
    assert mq.files() == mq.unfinished() == []


def test_an_ephemeral_instance_is_not_stopped(mq: Place) -> None:
    """A stop would delete it."""
    mq.incus("launch", "mosquitto", "brief", "--ephemeral")
    mq.settle("brief")
    mq.services = ["brief mq-data tarball=stop/7"]
    done = mq.back_up()
    assert done.returncode == 1
    assert lines(done.stdout, "FAILED: brief: is ephemeral")
    assert mq.state("brief") == "RUNNING"
    mq.incus("delete", "--force", "brief")


def test_a_unit_that_does_not_come_back_is_told(mq: Place) -> None:
    mq.services = [MQ.replace("unit=mosquitto", "unit=nothing")]
    mq.more = "START_SECONDS=2"
    done = mq.back_up()
    assert done.returncode == 1
    assert lines(done.stdout, "FAILED: mq: runs again, but its unit nothing is not active")
    assert len(mq.must_be_whole()) == 1


@pytest.mark.parametrize(
    "services",
    [
        ["mq"],
        ["mq mq-data"],
        ["mq mq-data snapshot"],
        ["mq mq-data snapshot=hot/7"],
        ["mq mq-data tarbal=stop/7"],
        ["mq mq-data tarball=stop/0"],
        ["mq ../x tarball=stop/7"],
        ["mq mq-data tsdb=stop/7"],
        ["mq mq-data tarball=stop encrypted=stop"],
        ["mq mq-data encrypted=stop tarball=stop"],
    ],
)
def test_what_is_not_understood_is_refused(mq: Place, services: list[str]) -> None:
    mq.services = [MQ, *services]
    done = mq.back_up()
    assert done.returncode == 2
    assert "nothing was done" in done.stdout
    assert not mq.backups.exists()


def test_nothing_to_back_up_is_no_success(mq: Place) -> None:
    mq.services = []
    assert mq.back_up().returncode == 1


def test_a_link_in_the_place_of_the_directory_is_refused(mq: Place) -> None:
    (mq.home / "elsewhere").mkdir()
    mq.backups.symlink_to("/backup/one/elsewhere")
    done = mq.back_up()
    assert done.returncode == 2
    assert list((mq.home / "elsewhere").iterdir()) == []


def test_others_may_not_write_to_the_directory(mq: Place) -> None:
    mq.backups.mkdir()
    mq.backups.chmod(0o777)
    assert mq.back_up().returncode == 2


# --- pruning


def shim(place: Place, code: str, program: str = "date") -> tuple[str, ...]:
    """The environment in which a program is a script of ours; it ends as the real one."""
    directory = place.home / "bin"
    directory.mkdir(parents=True)
    (directory / program).write_text(f'#!/bin/sh\n{code}\nexec /bin/{program} "$@"\n')
    (directory / program).chmod(0o755)
    return (f"PATH=/backup/{place.name}/bin:/usr/sbin:/usr/bin:/sbin:/bin",)


def old_run(place: Place, days: float, *, fits: bool = True, name: str = "mq-data.tar.zst") -> Path:
    taken = datetime.now(UTC) - days * DAY
    directory = place.backups / f"{taken:%Y%m%dT%H%M%SZ}"
    directory.mkdir(parents=True, mode=0o700)
    content = f"of {days} days ago".encode()
    (directory / name).write_bytes(content)
    told = hashlib.sha256(content if fits else b"other").hexdigest()
    (directory / f"{name}.sha256").write_text(f"{told}  {name}\n")
    return directory / name


def old_snapshots(place: Place, ages: dict[str, float]) -> None:
    """Import a volume `aged` with snapshots that Incus was told to be so many days old."""
    for name in ages:
        place.incus("storage", "volume", "snapshot", "create", "local", "mq-data", name)
    plain, made = place.home / "plain", place.home / "made"
    place.incus(
        *("storage", "volume", "export", "local", "mq-data", f"/backup/{place.name}/plain"),
        *("--compression", "none"),
    )
    with tarfile.open(plain) as old, tarfile.open(made, "w") as new:
        for entry in old:
            stream = old.extractfile(entry) if entry.isreg() else None
            content = stream.read() if stream else b""
            if entry.name == "backup/index.yaml":
                content = aged(content.decode(), ages).encode()
                entry.size = len(content)
            new.addfile(entry, io.BytesIO(content) if entry.isreg() else None)
    place.incus("storage", "volume", "import", "local", f"/backup/{place.name}/made", "aged")
    for name in ages:
        place.incus("storage", "volume", "snapshot", "delete", "local", "mq-data", name)


def aged(index: str, ages: dict[str, float]) -> str:
    """Line by line: Incus takes back what it wrote, and not all that means the same."""
    lines, name = [], ""
    for line in index.splitlines():
        key, _, value = line.strip().removeprefix("- ").partition(": ")
        if key == "name":
            name = value.rpartition("/")[2]
        if key == "created_at" and name in ages:
            taken = datetime.now(UTC) - ages[name] * DAY
            line = f"{line.partition(':')[0]}: {taken:%Y-%m-%dT%H:%M:%SZ}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def test_snapshots_are_pruned_by_the_time_that_incus_tells(mq: Place) -> None:
    """Their names lie here, each about its age; foreign names stay however old they are."""
    ages = {
        "backup-20200101-000000": 1,
        "backup-20990101-000000": 9,
        "backup-20990102-000000": 400,
        "daily-20200101": 400,
        "backup-20200101-000000-mine": 400,
    }
    old_snapshots(mq, ages)
    try:
        mq.services = ["mq aged snapshot=live/7"]
        done = mq.back_up()
        assert done.returncode == 0, done.stdout
        left = set(mq.snapshots("aged"))
        kept = {"backup-20200101-000000", "daily-20200101", "backup-20200101-000000-mine"}
        assert kept < left and len(left) == 4, done.stdout
    finally:
        mq.incus("storage", "volume", "delete", "local", "aged")


def test_no_snapshot_is_pruned_where_none_is_young(mq: Place) -> None:
    """The clocks of machine and Incus may be wrong together: only gaps show it."""
    old_snapshots(mq, {"backup-20990101-000000": 400, "backup-20990102-000000": 401})
    try:
        mq.services = ["mq aged snapshot=live/7"]
        done = mq.back_up()
        assert done.returncode == 0, done.stdout
        assert len(mq.snapshots("aged")) == 3
        assert lines(done.stdout, "aged: nothing pruned")
    finally:
        mq.incus("storage", "volume", "delete", "local", "aged")


@pytest.mark.parametrize("ahead", ["400 days", "-400 days", "1 hour"])
def test_nothing_is_pruned_while_the_clocks_contradict(mq: Place, ahead: str) -> None:
    kept = [old_run(mq, days) for days in (1, 8, 30)]
    mq.environment = shim(mq, f'[ "$1" = -d ] || exec /bin/date -d \'{ahead}\' "$@"')
    done = mq.back_up()
    assert done.returncode == 1
    assert lines(done.stdout, "FAILED: pruning: our clock and that of Incus")
    assert all(file.exists() for file in kept)
    assert len(mq.snapshots("mq-data")) == 1


def test_old_files_are_pruned(mq: Place) -> None:
    kept, old = old_run(mq, 6), [old_run(mq, days) for days in (8, 30)]
    other = old_run(mq, 31, name="other-data.tar.zst")
    done = mq.back_up()
    assert done.returncode == 0, done.stdout
    assert kept.exists() and other.exists()
    assert not any(file.parent.exists() for file in old)


def test_the_last_good_file_stays_however_old(mq: Place) -> None:
    """What is younger is damaged: it does not count."""
    damaged, good, older = old_run(mq, 1, fits=False), old_run(mq, 8), old_run(mq, 9)
    assert mq.back_up().returncode == 0
    assert damaged.exists() and good.exists() and not older.exists()


def test_no_file_is_pruned_where_its_backup_failed(mq: Place) -> None:
    files = [old_run(mq, days, name="nobody-data.tar.zst") for days in (1, 8, 30)]
    mq.services = [MQ, "mq nobody-data tarball=live/7"]
    assert mq.back_up().returncode == 1
    assert all(file.exists() for file in files)


def test_foreign_files_and_links_are_not_touched(mq: Place) -> None:
    """Attacks 25 and 26: links, directories with anything else in them, odd names."""
    victim = mq.home / "victim"
    victim.mkdir()
    for name in ("photos.tar.zst", "photos.tar.zst.sha256", ".x.tar.zst.partial"):
        (victim / name).write_text("precious")
    recent = old_run(mq, 1)
    foreign = old_run(mq, 30)
    (foreign.parent / "notes.txt").write_text("precious")
    hidden = old_run(mq, 31)
    (hidden.parent / ".hidden").mkdir()
    unsummed = old_run(mq, 32)
    (unsummed.parent / "photos.tar.zst").write_text("precious")
    (mq.backups / "20200101T000000Z").symlink_to("/backup/one/victim")
    (mq.backups / "20200102T000000Z").mkdir()
    for name in ("mq-data.tar.zst", "mq-data.tar.zst.sha256", ".mq-data.tar.zst.partial"):
        (mq.backups / "20200102T000000Z" / name).symlink_to("/backup/one/victim/photos.tar.zst")
    (mq.backups / "2020Z").mkdir()
    (mq.backups / "2020Z" / "mq-data.tar.zst").write_text("precious")
    before = tree(mq)
    done = mq.back_up()
    assert done.returncode == 0, done.stdout
    assert recent.exists()
    after = tree(mq)
    assert {path: after.get(path) for path in before} == before


def tree(place: Place) -> dict[Path, bytes]:
    found = {}
    for start in (place.backups, place.home / "victim"):
        for path in start.rglob("*"):
            found[path] = (
                os.readlink(path).encode()
                if path.is_symlink()
                else path.read_bytes()
                if path.is_file()
                else b""
            )
    return found


def test_what_dead_runs_left_unfinished_is_removed(mq: Place) -> None:
    whole = old_run(mq, 2)
    (whole.parent / ".ca-data.tar.zst.gpg.partial").write_text("half")
    (whole.parent / "ca-data.tar.zst.gpg.sha256").write_text("sum  ca-data.tar.zst.gpg\n")
    dead = mq.backups / "20260101T000000Z"
    dead.mkdir()
    (dead / ".mq-data.tar.zst.partial").write_text("half")
    assert mq.back_up().returncode == 0
    assert whole.exists() and not dead.exists() and mq.unfinished() == []
    assert sorted(path.name for path in whole.parent.iterdir()) == [
        *("mq-data.tar.zst", "mq-data.tar.zst.sha256")
    ]


def test_waits_as_long_as_a_stop_takes(long_stop) -> None:
    """The last one here: it has begun with the first."""
    patient, running, begun = long_stop
    status, said = running.end()
    assert status == 0, said
    assert time.monotonic() - begun > 72
    assert patient.state("mq") == "RUNNING"
    assert len(patient.must_be_whole()) == 1
