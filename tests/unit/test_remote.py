"""Backups at another machine: a real OpenSSH server, read as a directory of this one."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import stat
import time
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from fixtures.audit.inventory import BackupInventory, _locate, _read_files
from fixtures.backups import servers
from fixtures.backups.find import walk
from fixtures.backups.remote import remote_path
from fixtures.backups.streams import CHUNK, open_hashed
from fixtures.backups.tarball import inspect
from fixtures.clock import NotYet, wait_until
from fixtures.errors import BackupDamaged, CouldNotLook, UsageError
from fixtures.fleet.load import load_fleet
from fixtures.plugin.options import DEFAULT_FLEET
from fixtures.recovery.drill import tarball_of
from fixtures.recovery.existing import BackupFiles
from fixtures.services.prometheus import Prometheus
from tests.unit import servers as odd
from tests.unit import sshd
from tests.unit import test_find as find
from tests.unit.sshd import needs_ssh, server
from tests.unit.test_tarball import VOLUME, export

__all__ = ["server"]

pytestmark = needs_ssh


@pytest.fixture
def place(tmp_path):
    made = tmp_path / "backups"
    made.mkdir()
    return made


def listed(places):
    faults = []
    return [str(seen.path) for seen in walk(places, faults.append)], faults


def test_the_same_is_found_there_as_here(server, place):
    (place / "20261128").mkdir()
    (place / "lost+found").mkdir()
    (place / "lost+found/inside").write_text("x")
    for name, data in {
        f"20261128/{VOLUME}.tar.gz": gzip.compress(export()),
        " a\nb.tar": export(),
        "\udcff\udcfe.tar": export(),
        "broken.tar.gz": b"no archive",
        "empty.tar": b"",
        "note.txt": b"x",
    }.items():
        (place / name).write_bytes(data)
    (place / "link.tar.gz").symlink_to(place / f"20261128/{VOLUME}.tar.gz")
    os.mkfifo(place / "pipe.tar.gz")
    for path in place.rglob("*.tar*"):
        os.utime(path, (1_767_225_600, 1_767_225_600))  # SFTP knows whole seconds
    there = server.url(place)
    here, faults = listed([place])
    for places in ([there], [there, there / "20261128"]):
        assert listed(places) == ([f"sftp://backups{path}" for path in here], faults)
    assert said(there) == said(place)


def said(place):
    return [
        (str(f.path).removeprefix("sftp://backups"), f.kind, f.names, f.taken_at, f.state)
        for f in BackupFiles(places=(place,)).files
    ]


def test_directories_of_a_service_are_inspected_there(server, place):
    block = place / "snapshots/20261128T020000Z-78c1a2b3/01JD6B9XQ0H0T2S3V4W5X6Y7Z8"
    (block / "chunks").mkdir(parents=True)
    for name in ("meta.json", "index", "chunks/000001"):
        (block / name).write_bytes(b"{}")
    subject = load_fleet(DEFAULT_FLEET).service("prometheus")
    found = BackupFiles(places=(server.url(place),), services=(subject,))
    newest = found.newest_file(subject, "native").path
    assert newest == server.url(block.parent)
    Prometheus.inspect_native(newest)
    (block / "index").unlink()
    with pytest.raises(BackupDamaged, match="lacks index"):
        sshd.forget()
        Prometheus.inspect_native(server.url(block.parent))


def test_a_tarball_is_inspected_and_streamed_from_there(server, place):
    data = gzip.compress(export(), 1)
    (place / "v.tar.gz").write_bytes(data)
    (place / "SHA256SUMS").write_text(f"{hashlib.sha256(data).hexdigest()}  v.tar.gz\n")
    there = server.url(place / "v.tar.gz")
    seen = inspect(there, volume=VOLUME)
    assert seen == inspect(place / "v.tar.gz", volume=VOLUME)
    with tarball_of(there, seen).content() as content:
        assert b"".join(iter(lambda: content.read(CHUNK), b"")) == data


def test_it_is_compared_with_its_checksum_in_the_one_pass(server, place):
    data = gzip.compress(export(), 1)
    (place / "v.tar.gz.sha256").write_text("0" * 64 + "  v.tar.gz\n")
    for content in (data, data[: len(data) // 2]):
        (place / "v.tar.gz").write_bytes(content)
        with pytest.raises(BackupDamaged, match="is not what was written: its SHA-256 is"):
            inspect(server.url(place / "v.tar.gz"), volume=VOLUME)


def test_its_bytes_are_read_at_any_offset(server, place):
    rng = random.Random(5)
    data = rng.randbytes(9_000_000)
    (place / "file").write_bytes(data)
    with server.url(place / "file").open("rb") as file:
        for _ in range(50):
            at, size = rng.randrange(len(data) + 10), rng.choice([1, 4096, 300_000])
            file.seek(at)
            assert file.read(size) == data[at : at + size]
        assert file.seek(0, 2) == len(data)
    with open_hashed(server.url(place / "file")) as whole:
        while whole.read(CHUNK):
            continue
    assert (whole.bytes, whole.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("known", ["none", "another", "no file"])
def test_an_unknown_host_key_is_refused(server, place, tmp_path, known):
    other = f"[127.0.0.1]:{server.port} {sshd.make_key(tmp_path / 'other')}\n"
    server.known_hosts.write_text(other if known == "another" else "")
    if known == "no file":
        server.known_hosts.unlink()
    with pytest.raises(CouldNotLook) as told:
        listed([server.url(place)])
    assert "backups at sftp://backups: the host key is not trusted: " in told.value.message
    assert "compare the key with the server's" in told.value.hint


def test_a_key_that_is_not_let_in_is_said(server, place):
    for end in ("", ".pub"):
        (server.home / f".ssh/id_ed25519{end}").unlink()
    sshd.make_key(server.home / ".ssh/id_ed25519")
    with pytest.raises(CouldNotLook, match=r"Permission denied.*; nothing was changed there"):
        listed([server.url(place)])


@pytest.mark.parametrize(
    "file, text, why",
    [
        ("config", "Port abc", r"settings of ssh: \S+/config line 1: Invalid Port"),
        ("config", "\udcff", "settings of ssh: 'utf-8' codec can't decode"),
        ("config", "PKCS11Provider /none.so", r"settings of ssh: PKCS#11 support not available"),
        ("config", "IdentityFile ~/.ssh/gone", r"\S+/gone: No such file or directory"),
        ("known_hosts", "@bogus x ssh-ed25519 AAAA", "settings of ssh: Invalid known hosts marker"),
    ],
)
def test_settings_that_cannot_be_used_are_said(server, place, file, text, why):
    path = server.home / ".ssh" / file
    path.write_text(f"{text}\n{path.read_text()}", errors="surrogateescape")
    with pytest.raises(CouldNotLook, match=f"backups at sftp://backups: {why}"):
        listed([server.url(place)])


def test_the_name_of_a_host_is_taken_as_it_is_typed(server, place):
    config = server.home / ".ssh/config"
    config.write_text(config.read_text().replace("backups", "Backups"))
    assert listed([remote_path(f"sftp://Backups{place}")]) == ([], [])


def test_a_server_keeps_no_file_open_that_was_read(server, place):
    for number in range(20):
        (place / f"{number}.tar").write_bytes(export())
    assert {state for *_, state in said(server.url(place))} == {"whole"}

    def must_be_closed():
        if left := [name for name in opened_by(server.process.pid) if name.endswith(".tar")]:
            raise NotYet(f"{left} are open")

    wait_until(must_be_closed, label="closed", timeout=20)


def opened_by(pid):
    """Return the files that a process and all below it have open."""
    names = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            names.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return names + [name for child in children.read().split() for name in opened_by(child)]


def test_what_does_not_answer_is_said_in_bounded_time(server, place, monkeypatch):
    config = server.home / ".ssh/config"
    config.write_text(f"Host backups\n  HostName 127.0.0.1\n  Port {sshd.free_port()}\n")
    with pytest.raises(CouldNotLook, match="backups at sftp://backups: Connection refused; "):
        listed([server.url(place)])
    monkeypatch.setattr(servers, "CONNECT_SECONDS", 0.5)
    with sshd.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        with pytest.raises(CouldNotLook, match=r"no answer \(0.5 s to connect"):
            listed([remote_path(f"sftp://127.0.0.1:{port}{place}")])


def test_a_place_that_is_not_there_is_said(server, place):
    (found,) = BackupFiles(places=(server.url(place / "gone"),)).files
    assert found.state == "unread"
    assert "a directory that cannot be read" in found.problem


def test_what_a_server_gives_no_type_of_is_said(server, place, monkeypatch):
    (place / "v.tar").write_bytes(export())
    entry_of = servers._sftp_entry

    def untyped(name, about):
        about.type = servers.FILEXFER_TYPE_UNKNOWN
        return entry_of(name, about)

    monkeypatch.setattr(servers, "_sftp_entry", untyped)
    found, (fault,) = listed([server.url(place)])
    assert (found, fault.strerror) == (
        [],
        "the server does not say whether 'v.tar' in it is a file",
    )


def test_a_cut_connection_is_said_and_the_next_one_is_new(server, place):
    data = gzip.compress(random.Random(1).randbytes(12_000_000), 1)
    (place / "v.tar.gz").write_bytes(data)
    with server.url(place / "v.tar.gz").open("rb", buffering=0) as file:
        assert file.read(10)
        server.cut()
        with pytest.raises(CouldNotLook, match="backups at sftp://backups: ") as told:
            while file.read(CHUNK):
                continue
        assert told.value.hint == "see whether it answers: ssh backups"
        with pytest.raises(CouldNotLook, match="the connection was lost before"):
            file.seek(8_000_000), file.read(CHUNK)
    with server.url(place / "v.tar.gz").open("rb") as file:
        assert file.read() == data


FILE = (
    "<Contents><Key>{}</Key><Size>2</Size><LastModified>2026-11-27T02:00:00Z</LastModified>"
    "</Contents>"
)
BELOW = "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>"


def listing(*entries):
    answer = "<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>"
    return answer.format("".join(entries))


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """Return what asks an S3 whose listing of each prefix is a text; unknown ones are empty."""
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
    }.items():
        monkeypatch.setenv(name, value)

    def ask(content, act=listed, drips=None):
        def answer(connection):
            if not (request := connection.recv(65536)):
                return
            is_slow = drips is not None and request.startswith(drips)
            query = parse_qs(urlsplit(request.split()[1].decode()).query)
            body = content.get(query.get("prefix", [""])[0], listing()).encode()
            head = b"HTTP/1.1 200 x\r\nConnection: close\r\nETag: x\r\nContent-Length: %d\r\n\r\n"
            if is_slow:
                # Not earlier: what comes before a drip may take its time on a busy machine.
                monkeypatch.setattr(servers, "READ_SECONDS", 0.5)
            connection.sendall(head % len(body))
            for at in range(10 * is_slow):
                connection.sendall(body[at : at + 1])
                time.sleep(0.15)
            if not is_slow:
                connection.sendall(body)

        with odd.server(answer) as connect, connect() as probe:
            url = f"http://me:hunter2@127.0.0.1:{probe.getpeername()[1]}"
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            sshd.forget()
            return act([remote_path("s3://bucket/off")])

    yield ask
    sshd.forget()


@pytest.mark.parametrize(
    "content, files, faults",
    [
        ({"off/": listing(FILE.format("off/"))}, [], []),
        ({}, [], ["s3://bucket/off: nothing has this prefix"]),
        (
            {
                "off/": listing(FILE.format("off/loki"), BELOW.format("off/loki/")),
                "off/loki/": listing(FILE.format("off/loki/v.tar")),
            },
            ["off/loki", "off/loki/v.tar"],
            [],
        ),
        *(
            (
                {"off/": listing(FILE.format("off/v.tar"), BELOW.format(f"off/{name}/"))},
                ["off/v.tar"],
                [f"s3://bucket/off: {name!r} in it is no name of a file"],
            )
            for name in ("", ".", "..")
        ),
        (
            {"off/": listing(FILE.format("/etc/passwd"))},
            [],
            ["s3://bucket/off: '/etc/passwd' in it is no name of a file"],
        ),
    ],
)
def test_what_lies_in_s3_is_found_or_named(s3, content, files, faults):
    found, refused = s3(content)
    assert found == [f"s3://bucket/{name}" for name in files]
    assert [f"{error.filename}: {error.strerror}" for error in refused] == faults


@pytest.mark.parametrize(
    "text, why",
    [
        ("<html>Log in</html>", "no S3 answers there"),
        (listing("<Contents><Key>off/v.tar</Key></Contents>"), "no S3 answers there"),
        (listing(FILE.replace("2026-11-27", "soon").format("off/v")), "no S3 answers there"),
        ("{", "An error occurred"),
    ],
)
def test_what_is_no_s3_is_said(s3, text, why):
    with pytest.raises(CouldNotLook, match=f"backups at s3://bucket: {why}") as told:
        s3({"off/": text})
    assert "hunter2" not in str(told.value)


def test_an_s3_that_drips_is_given_up_and_its_file_is_unread(s3, monkeypatch):
    listed_file = {"off/": listing(FILE.format("off/v.tar"))}
    (file,) = s3(listed_file, lambda places: BackupFiles(places=places).files, b"GET /bucket/off/v")
    assert (str(file.path), file.state) == ("s3://bucket/off/v.tar", "unread")
    assert "no answer" in file.problem
    monkeypatch.setattr(servers, "READ_SECONDS", 0.5)
    with pytest.raises(CouldNotLook, match="backups at s3://bucket: no answer") as told:
        s3({"off/": listing()}, drips=b"GET")
    assert told.value.hint.startswith("name endpoint and keys in ~/.aws")


def test_no_function_for_local_files_takes_it(server, place):
    there = server.url(place)
    for act in (there.unlink, there.mkdir, lambda: os.listdir(there), lambda: there.open("wb")):
        with pytest.raises(TypeError):
            act()
    with pytest.raises(TypeError):
        there.write_bytes(b"")


def test_modes_and_times_are_those_of_the_file(server, place):
    file = place / "file"
    file.write_bytes(b"12345")
    file.chmod(0o640)
    seen = server.url(file).stat()
    assert (stat.S_ISREG(seen.st_mode), seen.st_mode & 0o777, seen.st_size) == (True, 0o640, 5)
    assert int(seen.st_mtime) == int(file.stat().st_mtime)
    assert server.url(file).is_file()
    assert not server.url(place / "other").exists()
    assert server.url(place).is_dir()


@pytest.mark.parametrize(
    "given, why",
    [
        *((given, "names no server") for given in ("sftp://", "sftp:///path", "s3://")),
        *((f"sftp://{host}/y", "names no server") for host in ("host:x", "[::1", "h:99999")),
        *((f"sftp://me:hunter2@{host}/y", "holds a password") for host in ("host", "[::1", "h:x")),
    ],
)
def test_a_url_without_a_server_or_with_a_password_is_refused(given, why):
    with pytest.raises(UsageError, match=why) as told:
        remote_path(given)
    assert "hunter2" not in str(told.value)


def test_other_places_are_directories_here():
    for given in ("/backup", "backup", "ftp://host/x", "./sftp:"):
        assert remote_path(given) is None


def test_an_audit_reads_there_what_it_reads_here(server, place):
    loki = load_fleet(DEFAULT_FLEET).service("loki")
    volume = loki.volumes[0].name
    made = find.export(volume)
    for name, at in ((f"{volume}.tar", made), ("cut.tar", made[:700]), ("x.tar.partial", b"half")):
        (place / name).write_bytes(at)
        (place / name).chmod(0o644)
        os.utime(place / name, (1_767_225_600, 1_767_225_600))
    (place / "SHA256SUMS").write_text(f"{'0' * 64}  {volume}.tar\n")
    here, there = (audited(loki, at) for at in (place, server.url(place)))
    assert "is not what was written" in here.files["tarball"][0].damage
    damages = [[file.damage for file in seen.files["tarball"]] for seen in (here, there)]
    assert damages[0] == damages[1]
    assert [*map(str, there.unfinished)] == [f"sftp://backups{path}" for path in here.unfinished]
    assert there.exposed == [f"sftp://backups{text}" for text in here.exposed]
    assert [file.lies for file in there.files["tarball"]] == ["off-site"]


def audited(subject, at):
    seen = BackupInventory(subject, datetime.now(UTC), (at,))
    _read_files(seen, BackupFiles(places=(at,), services=(subject,)))
    _locate(seen, "/var/lib/incus/unix.socket")
    return seen
