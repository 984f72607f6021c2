"""What vendors publish, from a vendor of our own: a signed repository and archives on loopback.

Two tests build a real root file system with mmdebstrap, and need root and a Debian mirror.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import lzma
import os
import shutil
import socket
import stat
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fixtures.errors import LabError
from fixtures.lab import images, recipes, rootfs, settings, unpack, vendor
from fixtures.lab.cache import Cache, Progress

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="mmdebstrap makes a root file system as root"
)
TWO_NAMES = [("tool-1.0/bin/tool", b"#!/bin/sh\necho 1.0\n"), ("tool-1.0/README", b"read me\n")]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a directory; of a file below `/cut/` it sends all headers, and half of the content."""

    def do_GET(self) -> None:
        if not self.path.startswith("/cut/"):
            super().do_GET()
            return
        content = Path(self.directory, self.path.removeprefix("/cut/")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests read errors, not access logs."""


@dataclass(frozen=True)
class Vendor:
    """A directory that is served, and the keys that sign in it."""

    url: str
    files: Path
    home: Path

    def gpg(self, *words: str) -> str:
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--yes", *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def key(self, name: str, *words: str) -> str:
        """Make a signing key without a passphrase; returns its fingerprint."""
        new = ["--passphrase", "", "--quick-generate-key", f"{name} <{name}@vendor.example>"]
        self.gpg(*words, *new, "ed25519", "sign", "1y")
        return self.fingerprint(name)

    def fingerprint(self, name: str) -> str:
        lines = self.gpg("--with-colons", "--list-keys", name).splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def publish_key(self, file: str, *names: str) -> str:
        (self.files / file).write_text(self.gpg("--armor", "--export", *names))
        return f"{self.url}/{file}"

    def publish(self, file: str, content: bytes) -> dict[str, Any]:
        """Publish a file; returns a row of `archives` that pins it."""
        (self.files / file).write_bytes(content)
        sum_ = hashlib.sha256(content).hexdigest()
        return {"url": f"{self.url}/{file}", "sha256": sum_, "path": "/opt/tool"}

    def sign(self, name: str) -> None:
        """Sign the repository with one of the keys."""
        suite = self.files / "apt/dists/stable"
        words = ["--local-user", name, "--output", str(suite / "InRelease"), "--clearsign"]
        self.gpg(*words, str(suite / "Release"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    """A vendor with a repository (one package), signed by `good`; `other` is not in its key."""
    files = tmp_path_factory.mktemp("vendor")
    # gpg's agent listens below its home, whose path must be short.
    home = Path(tmp_path_factory.mktemp("g"))
    home.chmod(0o700)
    handler = functools.partial(Handler, directory=str(files))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = Vendor(f"http://127.0.0.1:{server.server_port}", files, home)
        made.key("good")
        made.key("other")
        made.publish_key("good.asc", "good")
        publish_package(files / "apt")
        made.sign("good")
        yield made
        server.shutdown()
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


def publish_package(archive: Path) -> None:
    """Write a repository, suite stable, component main, with the package `lab-tool` 1.2.3."""
    tree = archive.parent / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/lab-tool").write_text("#!/bin/sh\necho vendor\n")
    (tree / "usr/bin/lab-tool").chmod(0o755)
    fields = (
        "Package: lab-tool\nVersion: 1.2.3\nArchitecture: all\nMaintainer: V <v@vendor.example>\n"
        "Description: a tool\n"
    )
    (tree / "DEBIAN/control").write_text(fields)
    deb = archive / "pool/lab-tool_1.2.3_all.deb"
    deb.parent.mkdir(parents=True)
    build = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(deb)]
    subprocess.run(build, check=True, capture_output=True)
    binaries = archive / "dists/stable/main"
    listed = (
        f"{fields}Filename: pool/{deb.name}\nSize: {deb.stat().st_size}\n"
        f"SHA256: {hashlib.sha256(deb.read_bytes()).hexdigest()}\n"
    ).encode()
    sums = ""
    for arch in (dpkg_architecture(), "all"):
        where = binaries / f"binary-{arch}/Packages"
        where.parent.mkdir(parents=True)
        where.write_bytes(listed)
        name = where.relative_to(archive / "dists/stable")
        sums += f" {hashlib.sha256(listed).hexdigest()} {len(listed)} {name}\n"
    (archive / "dists/stable/Release").write_text(
        f"Origin: vendor\nSuite: stable\nCodename: stable\nComponents: main\n"
        f"Architectures: {dpkg_architecture()} all\nDate: Sun, 01 Nov 2026 00:00:00 UTC\n"
        f"SHA256:\n{sums}"
    )


def dpkg_architecture() -> str:
    argv = ["dpkg", "--print-architecture"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", Progress(lambda _line: None))


def repository(shop: Vendor, **changes: Any) -> dict[str, Any]:
    row = {
        "url": f"{shop.url}/apt",
        "suite": "stable",
        "components": ["main"],
        "key": f"{shop.url}/good.asc",
        "fingerprint": shop.fingerprint("good"),
    }
    return {**row, **changes}


def written(directory: Path, **tables: Any) -> recipes.Recipe:
    """The recipe `tool`, written as TOML and read back."""
    lines = ['name = "tool"\nkind = "instance"\ndescription = "x"\nsuite = "trixie"']
    lines.append(f"packages = {tables.pop('packages', ['lab-tool'])!r}")
    for table, rows in tables.items():
        for row in rows:
            lines.append(f"[[{table}]]")
            lines += [f"{field} = {value!r}" for field, value in row.items()]
    directory.mkdir(exist_ok=True)
    (directory / "tool.toml").write_text("\n".join(lines) + "\n")
    return recipes.load("tool", directory)


def packed(members: list[tuple[str, bytes]], mode: int = 0o755) -> bytes:
    """An uncompressed tar of regular files."""
    return tar_of([(entry(name, mode=mode), content) for name, content in members])


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o755) -> Any:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    return made


def tar_of(entries: list[tuple[Any, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zstd(plain: bytes) -> bytes:
    return subprocess.run(["zstd", "-q"], input=plain, check=True, capture_output=True).stdout


def zipped(members: list[tuple[str, bytes]], attributes: int = 0o100755) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes << 16
            file.writestr(info, content)
    return out.getvalue()


# Keys


def test_the_pinned_key_alone_is_given_to_apt(shop: Vendor, tmp_path: Path) -> None:
    text = vendor.sources("tool", [repository(shop)], tmp_path)
    stanza, _, key = text.partition("Signed-By:\n")
    assert stanza == (f"Types: deb\nURIs: {shop.url}/apt\nSuites: stable\nComponents: main\n")
    lines = key.splitlines()
    assert all(line.startswith(" ") for line in lines)
    armoured = "\n".join(line[1:].replace(".", "") if line == " ." else line[1:] for line in lines)
    shown = subprocess.run(
        ["gpg", "--homedir", str(shop.home), "--with-colons", "--show-keys"],
        input=armoured,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = [line.split(":")[9] for line in shown.splitlines() if line.startswith("fpr:")]
    assert found == [shop.fingerprint("good")]


def test_a_key_may_be_a_file_of_the_recipe_and_is_part_of_its_key(
    shop: Vendor, tmp_path: Path
) -> None:
    files = tmp_path / "recipes/files"
    files.mkdir(parents=True)
    # Not armoured: as `gpg --dearmor` leaves it.
    argv = ["gpg", "--homedir", str(shop.home), "--export", "good"]
    content = subprocess.run(argv, check=True, capture_output=True).stdout
    (files / "vendor.gpg").write_bytes(content)
    row = repository(shop, key="vendor.gpg")
    recipe = written(tmp_path / "recipes", repositories=[row])
    before = recipe.key
    assert "Signed-By:\n -----BEGIN PGP PUBLIC" in vendor.sources("tool", [row], recipe.files)
    (files / "vendor.gpg").write_bytes(content + b"\0")
    assert recipe.key != before


def must_refuse_key(shop: Vendor, tmp_path: Path, message: str, **changes: Any) -> None:
    with pytest.raises(LabError) as caught:
        vendor.sources("tool", [repository(shop, **changes)], tmp_path)
    assert caught.value.message == f"recipe tool: {message}; nothing was built"
    assert caught.value.hint == (
        "look for the vendor's announcement of its key; change the recipe only where the vendor "
        "says so."
    )


def test_a_key_with_another_fingerprint_is_refused(shop: Vendor, tmp_path: Path) -> None:
    other, key = shop.publish_key("other.asc", "other"), shop.fingerprint("other")
    good = shop.fingerprint("good")
    message = f"{other} has the fingerprint {key}, not {good} as pinned"
    must_refuse_key(shop, tmp_path, message, key=other)


def test_a_key_under_the_name_of_another_is_refused(shop: Vendor, tmp_path: Path) -> None:
    """A stranger can give a key any name, the vendor's too: only the fingerprint counts."""
    impostor = shop.home / "impostor"
    impostor.mkdir(mode=0o700)
    second = Vendor(shop.url, shop.files, impostor)
    key = second.key("good")
    url = second.publish_key("impostor.asc", "good")
    subprocess.run(["gpgconf", "--homedir", str(impostor), "--kill", "all"], check=True)
    message = f"{url} has the fingerprint {key}, not {shop.fingerprint('good')} as pinned"
    must_refuse_key(shop, tmp_path, message, key=url)


def test_several_keys_in_one_file_are_refused(shop: Vendor, tmp_path: Path) -> None:
    url = shop.publish_key("both.asc", "good", "other")
    good, other = shop.fingerprint("good"), shop.fingerprint("other")
    message = f"{url} holds 2 primary keys ({good}, {other}), not only {good}"
    must_refuse_key(shop, tmp_path, message, key=url)


def test_an_expired_key_is_refused(shop: Vendor, tmp_path: Path) -> None:
    key = shop.key("old", "--faked-system-time", "20200101T000000")
    url = shop.publish_key("old.asc", "old")
    message = f"{url}: the key {key} is expired"
    must_refuse_key(shop, tmp_path, message, key=url, fingerprint=key)


def test_a_revoked_key_is_refused(shop: Vendor, tmp_path: Path) -> None:
    key = shop.key("gone")
    revocation = (shop.home / "openpgp-revocs.d" / f"{key}.rev").read_text()
    (tmp_path / "rev").write_text(revocation.replace("\n:-----BEGIN", "\n-----BEGIN"))
    shop.gpg("--import", str(tmp_path / "rev"))
    url = shop.publish_key("gone.asc", "gone")
    message = f"{url}: the key {key} is revoked"
    must_refuse_key(shop, tmp_path, message, key=url, fingerprint=key)


def test_what_is_no_key_is_refused(shop: Vendor, tmp_path: Path) -> None:
    (shop.files / "login.html").write_text("<html>Sign in</html>\n")
    url = f"{shop.url}/login.html"
    with pytest.raises(LabError, match=r"^recipe tool: the key \S+/login.html cannot be read: "):
        vendor.sources("tool", [repository(shop, key=url)], tmp_path)


# Downloads


def test_an_archive_is_fetched_once(shop: Vendor, cache: Cache) -> None:
    row = shop.publish("tool.tar.gz", gzip.compress(packed(TWO_NAMES)))
    kept = vendor.archive(cache, "tool", row)
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == row["sha256"]
    (shop.files / "tool.tar.gz").unlink()
    assert vendor.archive(cache, "tool", {**row, "sha256": row["sha256"].upper()}) == kept


def cached(cache: Cache) -> list[Path]:
    return [path for path in cache.root.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_an_archive_with_another_checksum_is_refused_and_removed(
    shop: Vendor, cache: Cache
) -> None:
    row = shop.publish("changed.tar.gz", b"as published")
    (shop.files / "changed.tar.gz").write_bytes(b"as changed")
    found = hashlib.sha256(b"as changed").hexdigest()
    with pytest.raises(LabError) as caught:
        vendor.archive(cache, "tool", row)
    assert caught.value.message == (
        f"recipe tool: {row['url']} has the SHA-256 {found}, not {row['sha256']} as pinned; it was "
        "removed, nothing was built"
    )
    assert cached(cache) == []


def test_an_archive_that_ends_too_early_is_refused_and_removed(shop: Vendor, cache: Cache) -> None:
    row = shop.publish("cut.tar.gz", b"0123456789")
    row["url"] = f"{shop.url}/cut/cut.tar.gz"
    with pytest.raises(LabError) as caught:
        vendor.archive(cache, "tool", row)
    assert caught.value.message == (
        f"recipe tool: {row['url']} could not be fetched: IncompleteRead(5 bytes read, 5 more "
        "expected); nothing was put into the cache"
    )
    assert cached(cache) == []


def test_an_unreachable_server_is_named_with_what_to_do(cache: Cache) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    row = {"url": f"http://127.0.0.1:{port}/x.zip", "sha256": "0" * 64, "path": "/x"}
    with pytest.raises(LabError) as caught:
        vendor.archive(cache, "tool-vendor", row)
    assert str(caught.value) == (
        f"recipe tool-vendor: {row['url']} could not be fetched: [Errno 111] Connection refused; "
        "nothing was put into the cache\n"
        "HINT: see that this machine may reach it (HTTPS_PROXY, HTTP_PROXY and apt's own proxy), "
        "or unset ATLAS_DRILLS_LAB_VENDOR to build the image without the vendor."
    )
    assert cached(cache) == []


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vendor, "SILENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(LabError, match=r"could not be fetched: timed out; nothing was put"):
            vendor.fetch(url, tmp_path / "x", "tool")


def test_an_answer_that_is_no_success_is_told(shop: Vendor, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"could not be fetched: 404 Client Error: File not found"):
        vendor.fetch(f"{shop.url}/none", tmp_path / "x", "tool")


def test_downloads_go_through_the_proxy(
    shop: Vendor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (shop.files / "by-proxy").write_text("through it")
    monkeypatch.setenv("http_proxy", shop.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    # The handler takes the path of an absolute URL as a path: the proxy answers by itself.
    monkeypatch.setattr(Handler, "translate_path", lambda self, _: str(shop.files / "by-proxy"))
    vendor.fetch("http://vendor.invalid/x", tmp_path / "x", "tool")
    assert (tmp_path / "x").read_text() == "through it"


# Archives


def unpacked(tmp_path: Path, content: bytes, **row: Any) -> Path:
    archive = tmp_path / "archive"
    archive.write_bytes(content)
    into = tmp_path / "into"
    row = {"url": "http://v/a", "path": "/opt/tool", **row}
    unpack.unpack(archive, row, into, "recipe tool: archive http://v/a")
    return into


@pytest.mark.parametrize(
    "pack",
    [
        lambda names: gzip.compress(packed(names)),
        lambda names: lzma.compress(packed(names)),
        lambda names: zstd(packed(names)),
        zipped,
    ],
    ids=["tar.gz", "tar.xz", "tar.zst", "zip"],
)
def test_every_kind_is_unpacked(
    tmp_path: Path, pack: Callable[[list[tuple[str, bytes]]], bytes]
) -> None:
    into = unpacked(tmp_path, pack(TWO_NAMES), strip=1)
    found = {str(p.relative_to(into)): p.read_bytes() for p in into.rglob("*") if p.is_file()}
    assert found == {"bin/tool": TWO_NAMES[0][1], "README": TWO_NAMES[1][1]}
    assert stat.S_IMODE((into / "bin/tool").stat().st_mode) == 0o755
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "into"]


def test_one_member_takes_the_name_of_its_path(tmp_path: Path) -> None:
    content = zipped([("LICENSE", b""), ("tool", b"x")], attributes=0)
    into = unpacked(tmp_path, content, member="tool", path="/usr/local/bin/tool-2", mode="0755")
    assert [path.name for path in into.iterdir()] == ["tool-2"]
    assert stat.S_IMODE((into / "tool-2").stat().st_mode) == 0o755


def test_links_inside_are_kept(tmp_path: Path) -> None:
    entries = [
        (entry("./t/bin/tool"), b"x"),
        (entry("./t/sbin/tool", tarfile.SYMTYPE, "../bin/tool"), b""),
        (entry("./t/again", tarfile.LNKTYPE, "./t/bin/tool"), b""),
    ]
    into = unpacked(tmp_path, gzip.compress(tar_of(entries)), strip=1)
    assert os.readlink(into / "sbin/tool") == "../bin/tool"
    assert (into / "again").samefile(into / "bin/tool")


def test_modes_are_made_harmless(tmp_path: Path) -> None:
    into = unpacked(tmp_path, gzip.compress(packed([("tool", b"x")], mode=0o6777)))
    assert stat.S_IMODE((into / "tool").stat().st_mode) == 0o755


@needs_root
def test_an_owner_is_given_to_all(tmp_path: Path) -> None:
    entries = [(entry("d/f"), b"x"), (entry("d/l", tarfile.SYMTYPE, "f"), b"")]
    into = unpacked(tmp_path, gzip.compress(tar_of(entries)), owner="472:473")
    owners = {(p.lstat().st_uid, p.lstat().st_gid) for p in into.rglob("*")}
    assert owners == {(472, 473)}


@needs_root
def test_set_id_bits_are_as_the_recipe_says_in_spite_of_an_owner(tmp_path: Path) -> None:
    content = zipped([("tool", b"x")])
    into = unpacked(tmp_path, content, member="tool", mode="04755", owner="0:473")
    assert stat.S_IMODE((into / "tool").stat().st_mode) == 0o4755


SYM, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([entry("/etc/passwd")], "'/etc/passwd' has an absolute name"),
        ([entry("a/../../x")], "'a/../../x' leads upwards"),
        ([entry("..", tarfile.DIRTYPE)], "'..' leads upwards"),
        ([entry("l", SYM, "/etc")], "'l' is a link that leads out of it, to '/etc'"),
        ([entry("a/l", SYM, "../../etc")], "'a/l' is a link that leads out of it, to '../../etc'"),
        ([entry("l", SYM, "d"), entry("l/x")], "'l/x' lies below what is no directory"),
        ([entry("l", SYM, "."), entry("l", tarfile.DIRTYPE)], "'l' lies below what is no direct"),
        ([entry("h", HARD, "/etc/shadow")], "'h' has an absolute name"),
        ([entry("h", HARD, "../x")], "'h' leads upwards"),
        ([entry("h", HARD, "none")], "'h' is a link to 'none', which is no file before it"),
        ([entry("l", SYM, "x"), entry("h", HARD, "l")], "'h' is a link to 'l', which is no file"),
        (
            [entry("a/b/up", SYM, "../.."), entry("a/b/out", SYM, "up/../etc")],
            "a/b/out leads out of it",
        ),
        ([entry("dev", tarfile.CHRTYPE)], "'dev' is neither a file, a directory nor a link"),
        ([entry("pipe", tarfile.FIFOTYPE)], "'pipe' is neither a file, a directory nor a link"),
        ([entry("x"), entry("./x")], "'./x' is in it twice"),
    ],
)
def test_an_archive_that_escapes_is_refused(tmp_path: Path, entries: list[Any], why: str) -> None:
    content = gzip.compress(tar_of([(each, b"") for each in entries]))
    with pytest.raises(LabError) as caught:
        unpacked(tmp_path, content)
    assert caught.value.message.startswith("recipe tool: archive http://v/a: its member ")
    assert why in caught.value.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "into"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (zipped([("../x", b"")]), "'../x' leads upwards"),
        (zipped([("/x", b"")]), "'/x' has an absolute name"),
        (zipped([("l", b"/etc")], 0o120777), "'l' is a link that leads out of it, to '/etc'"),
        (zipped([("pipe", b"")], 0o010644), "'pipe' is neither a file, a directory nor a link"),
    ],
)
def test_a_zip_that_escapes_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(LabError) as caught:
        unpacked(tmp_path, content)
    assert why in caught.value.message


def test_members_that_are_left_out_are_judged_too(tmp_path: Path) -> None:
    content = zipped([("tool", b"x"), ("../x", b"")])
    with pytest.raises(LabError, match=r"its member '\.\./x' leads upwards"):
        unpacked(tmp_path, content, member="tool")


@pytest.mark.parametrize(
    ("content", "row", "why"),
    [
        (b"<html>", {}, " cannot be read: it is neither tar.gz, tar.xz, tar.zst nor zip"),
        (gzip.compress(packed(TWO_NAMES))[:60], {}, " cannot be read: "),
        (lzma.compress(packed(TWO_NAMES))[:60], {}, " cannot be read: "),
        (zipped(TWO_NAMES)[:60], {}, " cannot be read: "),
        (zipped(TWO_NAMES), {"strip": 3}, ": nothing left to unpack in it (tool-1.0/bin/tool, "),
        (zipped(TWO_NAMES), {"member": "tool"}, ": no member tool in it (tool-1.0/bin/tool, "),
    ],
)
def test_what_cannot_be_unpacked_is_told(
    tmp_path: Path, content: bytes, row: dict[str, Any], why: str
) -> None:
    with pytest.raises(LabError) as caught:
        unpacked(tmp_path, content, **row)
    assert caught.value.message.startswith(f"recipe tool: archive http://v/a{why}")


# Recipes


def good_rows() -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        {
            "url": "https://vendor.example/apt",
            "suite": "stable",
            "components": ["main"],
            "key": "https://vendor.example/key.asc",
            "fingerprint": "A" * 40,
        },
        {"url": "https://vendor.example/a.zip", "sha256": "a" * 64, "path": "/opt/a"},
    )


@pytest.mark.parametrize(
    ("table", "changes", "what"),
    [
        ("repositories", {"fingerprint": "A" * 16}, "has the fingerprint 'AAAAAAAAAAAAAAAA', not"),
        ("repositories", {"fingerprint": "A" * 40 + "\n"}, "not 40 hex digits"),
        ("repositories", {"url": "file:///srv/apt"}, "not an http or https address"),
        ("repositories", {"url": "http://v/apt x"}, "not an http or https address"),
        ("repositories", {"suite": "stable main"}, "not a suite such as stable"),
        ("repositories", {"components": []}, "has the components [], not a list of them"),
        ("repositories", {"components": ["a b"]}, "has the components ['a b'], not plain words"),
        ("repositories", {"key": "none.asc"}, "none.asc, which does not exist"),
        ("repositories", {"trusted": "yes"}, "repositories[1] has the unknown field `trusted`"),
        ("repositories", {"fingerprint": None}, "repositories[1] lacks `fingerprint`"),
        ("archives", {"sha256": "a" * 63}, "not 64 hex digits"),
        ("archives", {"sha256": None}, "archives[1] lacks `sha256`"),
        ("archives", {"md5": "a" * 32}, "archives[1] has the unknown field `md5`"),
        ("archives", {"url": "ftp://v/a.zip"}, "not an http or https address"),
        ("archives", {"path": "opt/a"}, "which is not absolute"),
        ("archives", {"path": "/opt/../../a"}, "which leads upwards"),
        ("archives", {"strip": -1}, "has the strip -1, not a number of path components"),
        ("archives", {"strip": "1"}, "has the strip '1', not a number of path components"),
        ("archives", {"mode": "0755"}, "which only a single `member` can have"),
        ("archives", {"member": "a", "strip": 1}, "has a `member` that is no name, or has a"),
    ],
)
def test_wrong_rows_are_refused(
    tmp_path: Path, table: str, changes: dict[str, Any], what: str
) -> None:
    row = {**dict(zip(("repositories", "archives"), good_rows(), strict=True))[table], **changes}
    row = {field: value for field, value in row.items() if value is not None}
    with pytest.raises(LabError) as caught:
        written(tmp_path, **{table: [row]})
    assert what in caught.value.message
    assert caught.value.hint == "correct the recipe; nothing was built."


def test_every_field_of_a_row_is_part_of_the_key(tmp_path: Path) -> None:
    repository_row, archive_row = good_rows()
    keys = [
        written(tmp_path, repositories=[repository_row], archives=[archive_row]).key,
        written(tmp_path, archives=[archive_row]).key,
        written(tmp_path, repositories=[repository_row]).key,
        written(tmp_path).key,
    ]
    other = {**repository_row, "fingerprint": "B" * 40}
    keys.append(written(tmp_path, repositories=[other]).key)
    keys.append(written(tmp_path, archives=[{**archive_row, "sha256": "b" * 64}]).key)
    assert len(set(keys)) == len(keys)


def test_the_vendors_recipe_is_taken_only_where_asked_for(tmp_path: Path) -> None:
    text = 'kind = "instance"\ndescription = "x"\nsuite = "trixie"\npackages = ["x"]\n'
    for name in ("grafana", "grafana-vendor", "loki"):
        (tmp_path / f"{name}.toml").write_text(f'name = "{name}"\n{text}')
    chosen = {
        (name, value): images.choose(
            name, settings.from_environment({"ATLAS_DRILLS_LAB_VENDOR": value}), tmp_path
        ).name
        for name in ("grafana", "loki")
        for value in ("", "0", "1")
    }
    assert chosen == {
        ("grafana", ""): "grafana",
        ("grafana", "0"): "grafana",
        ("grafana", "1"): "grafana-vendor",
        ("loki", ""): "loki",
        ("loki", "0"): "loki",
        ("loki", "1"): "loki",
    }


def test_a_switch_that_is_neither_on_nor_off_is_refused() -> None:
    with pytest.raises(LabError, match=r"^ATLAS_DRILLS_LAB_VENDOR is 'yes': neither 0 nor 1"):
        settings.from_environment({"ATLAS_DRILLS_LAB_VENDOR": "yes"})


# What apt says


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("E: Failed to fetch http://v/apt/x/Packages  Hash Sum mismatch", "apt cannot verify the"),
        ("E: The repository 'http://v/apt stable InRelease' is not signed.", "apt cannot verify"),
        ("E: Failed to fetch http://v/apt/x  Could not connect to v", "could not be fetched: E: "),
    ],
)
def test_what_apt_says_of_the_vendor_is_told_as_that(said: str, what: str) -> None:
    row = {**good_rows()[0], "url": "http://v/apt/"}
    failed = LabError(f"recipe tool: `mmdebstrap` ended:\n  Get:1 http://v/apt stable\n  {said}")
    told = vendor.explained("tool", [row], failed)
    assert told.message.startswith("recipe tool: ")
    assert what in told.message and said in told.message and "Get:1" not in told.message


def test_what_apt_says_of_others_is_left_as_it_is() -> None:
    failed = LabError("recipe tool: `mmdebstrap` ended:\n  E: Failed to fetch http://debian/x")
    assert vendor.explained("tool", [good_rows()[0]], failed) is failed


# The whole way, with mmdebstrap


@pytest.fixture(scope="module")
def mirrors() -> rootfs.Mirrors:
    return rootfs.from_apt(override=settings.from_environment().mirror)


@needs_root
def test_packages_and_archives_of_a_vendor_are_installed(
    shop: Vendor, cache: Cache, mirrors: rootfs.Mirrors, tmp_path: Path
) -> None:
    tarball = shop.publish("whole.tar.gz", gzip.compress(packed(TWO_NAMES)))
    single = shop.publish("whole.zip", zipped([("tool", b"single")]))
    recipe = written(
        tmp_path / "recipes",
        repositories=[repository(shop)],
        archives=[
            {**tarball, "path": "/opt/tool", "strip": 1, "owner": "472:472"},
            # /var/run is a link to /run: absolute, so that from outside it is the host's.
            {**single, "path": "/var/run/lab-tool-test", "member": "tool", "mode": "04755"},
        ],
    )
    root = tmp_path / "root"
    versions = rootfs.build(cache, recipe, root, mirrors)
    try:
        assert versions["lab-tool"] == "1.2.3"
        assert (root / "opt/tool/bin/tool").read_bytes() == TWO_NAMES[0][1]
        owners = {p.stat().st_uid for p in [root / "opt/tool", *(root / "opt/tool").rglob("*")]}
        assert owners == {472}
        assert stat.S_IMODE((root / "run/lab-tool-test").stat().st_mode) == 0o4755
        assert not Path("/run/lab-tool-test").exists()
        assert not [path.name for path in root.iterdir() if path.name.startswith(".")]
        lists = (root / "etc/apt/sources.list.d").glob("*vendor.sources")
        assert [path.read_text().count("BEGIN PGP") for path in lists] == [1]
        trusted = [p.name for p in (root / "etc/apt/trusted.gpg.d").iterdir()]
        assert not [name for name in trusted if "debian" not in name]
    finally:
        shutil.rmtree(root)


@needs_root
def test_a_repository_signed_by_another_key_stops_the_build(
    shop: Vendor, cache: Cache, mirrors: rootfs.Mirrors, tmp_path: Path
) -> None:
    recipe = written(tmp_path / "recipes", repositories=[repository(shop)])
    shop.sign("other")
    try:
        with pytest.raises(LabError) as caught:
            rootfs.build(cache, recipe, tmp_path / "root", mirrors)
    finally:
        shop.sign("good")
    assert caught.value.message.startswith(
        f"recipe tool: apt cannot verify the repository {shop.url}/apt with the pinned key "
        f"{shop.fingerprint('good')}; nothing was put into the cache. It says: "
    )
    assert shop.fingerprint("other")[-16:] in caught.value.message
    assert str(caught.value.hint).startswith("it is signed by another key, or was changed")
