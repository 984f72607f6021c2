"""What vendors publish, from a vendor of our own: a signed repository and archives on loopback.

Two tests build a real root file system with mmdebstrap, and need root and a Debian mirror.
"""

from __future__ import annotations

import datetime
import functools
import gzip
import hashlib
import http.server
import io
import ipaddress
import lzma
import os
import socket
import ssl
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fixtures.errors import LabError
from fixtures.lab import images, recipe, rootfs, settings, vendor
from fixtures.lab.cache import Cache
from fixtures.lab.vendor import VendorUnreachable

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mmdebstrap needs root")
TOOL = b"#!/bin/sh\necho from the vendor\n"
PACKAGE = (
    "Package: lab-tool\nVersion: 1.2.3\nArchitecture: all\nMaintainer: V <v@vendor.example>\n"
    "Description: a tool\n"
)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a directory; of a file below `/cut/` it sends all headers, and half of the content."""

    def do_GET(self) -> None:
        if not self.path.startswith("/cut/"):
            return super().do_GET()
        content = Path(self.directory, self.path.removeprefix("/cut/")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        return None

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass(frozen=True)
class Vendor:
    """A directory that is served with and without TLS, and the keys that sign in it."""

    files: Path
    home: Path
    port: int
    tls_port: int

    def gpg(self, *words: str) -> str:
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--yes", *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def key(self, name: str, *words: str) -> str:
        """Make a signing key; returns its fingerprint."""
        new = ["--passphrase", "", "--quick-generate-key", f"{name} <{name}@vendor.example>"]
        self.gpg(*words, *new, "ed25519", "sign", "1y")
        return self.fingerprint(name)

    def fingerprint(self, name: str) -> str:
        lines = self.gpg("--with-colons", "--list-keys", name).splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def url(self, file: str) -> str:
        return f"http://127.0.0.1:{self.port}/{file}"

    def publish_key(self, file: str, *names: str) -> str:
        (self.files / file).write_text(self.gpg("--armor", "--export", *names))
        return self.url(file)

    def sign(self, name: str, time: str = "") -> None:
        suite = self.files / "apt/dists/stable"
        words = ["--faked-system-time", f"{time}!"] if time else []
        words += ["--local-user", name, "--output", str(suite / "InRelease"), "--clearsign"]
        self.gpg(*words, str(suite / "Release"))

    def publish(self, file: str, content: bytes, **row: Any) -> recipe.Archive:
        """Publish an archive, and its line in the list of checksums behind TLS."""
        (self.files / file).write_bytes(content)
        listed = f"{hashlib.sha256(content).hexdigest()}  {file}\n"
        (self.files / "checksums.txt").write_text(f"{'0' * 64}  other.zip\n{listed}")
        row.setdefault("checksums", f"https://127.0.0.1:{self.tls_port}/checksums.txt")
        return recipe.Archive(url=self.url(file), path="/usr/bin/tool", member="tool", **row)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    """A vendor with a repository (one package), signed by `good`; `other` is not in its key."""
    files, home = tmp_path_factory.mktemp("vendor"), tmp_path_factory.mktemp("g")
    home.chmod(0o700)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(home))
    servers = []
    for is_tls in (False, True):
        handler = functools.partial(Handler, directory=str(files))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if is_tls:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    made = Vendor(files, home, servers[0].server_port, servers[1].server_port)
    made.key("good")
    made.key("other")
    made.publish_key("good.asc", "good")
    publish_package(files / "apt")
    made.sign("good")
    yield made
    for server in servers:
        server.shutdown()
        server.server_close()
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


def certificate(home: Path) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vendor")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = home / "tls.pem"
    file.write_bytes(pem + key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    return file


def publish_package(archive: Path) -> None:
    """Write a repository, suite stable, component main, with the package `lab-tool` 1.2.3."""
    tree = archive.parent / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(PACKAGE)
    deb = archive / "pool/lab-tool_1.2.3_all.deb"
    deb.parent.mkdir(parents=True)
    build = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(deb)]
    subprocess.run(build, check=True, capture_output=True)
    sum_ = hashlib.sha256(deb.read_bytes()).hexdigest()
    size = deb.stat().st_size
    listed = f"{PACKAGE}Filename: pool/{deb.name}\nSize: {size}\nSHA256: {sum_}\n".encode()
    sums = ""
    for arch in ("amd64", "arm64", "all"):
        where = archive / f"dists/stable/main/binary-{arch}/Packages"
        where.parent.mkdir(parents=True)
        where.write_bytes(listed)
        name = where.relative_to(archive / "dists/stable")
        sums += f" {hashlib.sha256(listed).hexdigest()} {len(listed)} {name}\n"
    (archive / "dists/stable/Release").write_text(
        "Origin: vendor\nSuite: stable\nCodename: stable\nComponents: main\n"
        f"Architectures: amd64 arm64 all\nDate: Sun, 01 Nov 2026 00:00:00 UTC\nSHA256:\n{sums}"
    )


@pytest.fixture
def trusted(shop: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(shop.home / "tls.pem"))


def repository(shop: Vendor, **changes: Any) -> recipe.Repository:
    row = {"url": shop.url("apt"), "suite": "stable", "components": ["main"]}
    key = {"key": shop.url("good.asc"), "fingerprint": shop.fingerprint("good")}
    return recipe.Repository.model_validate({**row, **key, **changes})


def made_of(name: str = "tool", **tables: Any) -> recipe.Recipe:
    data = {"name": name, "kind": "instance", "description": "x", "suite": "trixie"}
    return recipe.Recipe.model_validate({**data, "packages": ["less"], **tables})


def write(directory: Path, made: recipe.Recipe) -> None:
    """Write a recipe as TOML; JSON's strings and lists are TOML's too."""
    lines: list[str] = []
    for field, value in made.model_dump(exclude_unset=True).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for row in value:
                lines += [f"[[{field}]]", *(f"{name} = {item!r}" for name, item in row.items())]
        else:
            lines.insert(0, f"{field} = {value!r}")
    (directory / f"{made.name}.toml").write_text("\n".join(lines) + "\n")


def test_the_pinned_key_alone_is_given_to_apt(shop: Vendor) -> None:
    text = vendor.sources(made_of(repositories=[repository(shop).model_dump()]))
    stanza, _, key = text.partition("Signed-By:\n")
    assert stanza == f"Types: deb\nURIs: {shop.url('apt')}\nSuites: stable\nComponents: main\n"
    (shop.home / "given").write_text(
        "".join(f"{line[1:]}\n" if line != " ." else "\n" for line in key.splitlines())
    )
    shown = shop.gpg("--with-colons", "--show-keys", str(shop.home / "given"))
    found = [line.split(":")[9] for line in shown.splitlines() if line.startswith("fpr:")]
    assert found == [shop.fingerprint("good")]


@pytest.mark.parametrize("names", [("other",), ("good", "other"), ()])
def test_another_key_than_the_pinned_one_is_refused(shop: Vendor, names: tuple[str, ...]) -> None:
    url = shop.publish_key("given.asc", *names) if names else shop.url("no-key")
    (shop.files / "no-key").write_text("<html>Sign in</html>")
    with pytest.raises(LabError) as caught:
        vendor.sources(made_of(repositories=[repository(shop, key=url).model_dump()]))
    assert not isinstance(caught.value, VendorUnreachable)
    if names:
        held = ", ".join(shop.fingerprint(name) for name in names)
        assert caught.value.message == (
            f"recipe tool: {url} holds the primary keys {held}, not {shop.fingerprint('good')} "
            "alone, as pinned; nothing was built"
        )
    else:
        assert caught.value.message.startswith(f"recipe tool: the key {url} cannot be read: ")


@pytest.mark.parametrize("how", ["refused", "cut", "silent", "404", "untrusted"])
def test_a_vendor_that_cannot_be_reached_is_named_with_the_cause(
    shop: Vendor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    (shop.files / "x").write_bytes(b"0123456789")
    monkeypatch.setattr(vendor, "SILENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url, why = {
            "refused": ("http://127.0.0.1:1/x", "[Errno 111] Connection refused"),
            "cut": (shop.url("cut/x"), "IncompleteRead(5 bytes read, 5 more expected)"),
            "silent": (f"http://127.0.0.1:{port}/x", "timed out"),
            "404": (shop.url("none"), "404 Client Error: File not found"),
            "untrusted": (f"https://127.0.0.1:{shop.tls_port}/x", "CERTIFICATE_VERIFY_FAILED"),
        }[how]
        with pytest.raises(VendorUnreachable) as caught:
            vendor.fetch(url, tmp_path / "x", "tool")
    reason = caught.value.reason
    assert reason.startswith(f"the vendor's package could not be fetched ({url}: ")
    assert why in reason
    assert caught.value.message == f"recipe tool: {reason}; nothing was put into the cache"


def test_an_archive_is_held_against_the_vendors_list_and_later_against_the_first_sum(
    shop: Vendor, trusted: None, tmp_path: Path
) -> None:
    """1. Fetched by the list. 2. Used from the cache. 3. Changed at the vendor's: refused."""
    cache, made = Cache(tmp_path), made_of()
    row = shop.publish("tool_amd64.tar.gz", b"as published")
    row = row.model_copy(update={"url": row.url.replace("amd64", "{arch}")})
    path, url, sum_ = vendor.archive(cache, made, row, "amd64")
    assert (url, sum_) == (
        shop.url("tool_amd64.tar.gz"),
        hashlib.sha256(b"as published").hexdigest(),
    )
    images_ = tmp_path / "images"
    images_.mkdir()
    (images_ / "tool-1.tar.zst.json").write_text(f'{{"archives": {{"{url}": "{sum_}"}}}}')
    shop.publish("tool_amd64.tar.gz", b"as changed")
    assert vendor.archive(cache, made, row, "amd64")[0] == path
    path.unlink()
    changed = hashlib.sha256(b"as changed").hexdigest()
    with pytest.raises(LabError) as caught:
        vendor.archive(cache, made, row, "amd64")
    assert caught.value.message == (
        f"recipe tool: {url} has the SHA-256 {changed}, not {sum_} as it was when first used here; "
        "nothing was built"
    )


@pytest.mark.parametrize("pin", ["sha256", "checksums"])
def test_an_archive_with_another_checksum_is_refused_and_not_kept(
    shop: Vendor, trusted: None, tmp_path: Path, pin: str
) -> None:
    wanted = hashlib.sha256(b"as published").hexdigest()
    pinned = {"sha256": wanted, "checksums": None} if pin == "sha256" else {}
    row = shop.publish("changed.zip", b"as published", **pinned)
    (shop.files / "changed.zip").write_bytes(b"as changed")
    with pytest.raises(LabError, match=f"not {wanted} as pinned or published; nothing was built"):
        vendor.archive(Cache(tmp_path), made_of(), row, "amd64")
    assert list((tmp_path / "archives").iterdir()) == []
    (shop.files / "checksums.txt").write_text(f"{wanted}  other.zip\n")
    if pin == "checksums":
        with pytest.raises(LabError, match=r"checksums.txt has no SHA-256 of changed.zip"):
            vendor.archive(Cache(tmp_path), made_of(), row, "amd64")


def packed(*members: tuple[str, bytes, bytes]) -> bytes:
    """An uncompressed tar of (name, content, type)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "/etc/passwd", len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zipped(name: str, content: bytes, attributes: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        info = zipfile.ZipInfo(name)
        info.external_attr = attributes << 16
        file.writestr(info, content)
    return out.getvalue()


REGULAR, LINK, HARD, DEVICE = (
    *(tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE),
)
PLAIN = packed(("../../escaped", b"x", REGULAR), ("bin/tool", TOOL, REGULAR))


@pytest.mark.parametrize(
    "content",
    [gzip.compress(PLAIN), lzma.compress(PLAIN), zipped("bin/tool", TOOL, 0o100755)],
    ids=["tar.gz", "tar.xz", "zip"],
)
def test_one_program_is_taken_out_of_an_archive_and_nothing_else(
    tmp_path: Path, content: bytes
) -> None:
    directory = tmp_path / "a/b"
    directory.mkdir(parents=True)
    (directory / "archive").write_bytes(content)
    vendor.extract(directory / "archive", "bin/tool", directory / "out", "recipe tool: archive")
    assert (directory / "out").read_bytes() == TOOL
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b", "archive", "out"}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        *((packed(("tool", b"", kind)), "no regular file tool") for kind in (LINK, DEVICE)),
        (packed(("bin/tool", TOOL, REGULAR)), "no regular file tool"),
        (zipped("tool", b"/etc/passwd", 0o120777), "no regular file tool"),
        (gzip.compress(PLAIN)[:60], "cannot be read"),
        (b"<html>Sign in</html>", "cannot be read"),
    ],
    ids=["link", "device", "absent", "link in a zip", "cut", "no archive"],
)
def test_what_is_no_program_in_an_archive_is_refused(
    tmp_path: Path, content: bytes, what: str
) -> None:
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(LabError, match=f"^recipe tool: archive.*{what}"):
        vendor.extract(tmp_path / "archive", "tool", tmp_path / "out", "recipe tool: archive")


@pytest.mark.parametrize("link", ["/etc", "../../outside"])
def test_no_link_of_a_root_file_system_leads_to_the_hosts_files(tmp_path: Path, link: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/opt").symlink_to(link)
    (tmp_path / "tool").write_bytes(TOOL)
    row = recipe.File(path="/opt/tool", source="")
    with pytest.raises(LabError, match=r"^/opt/tool of the root file system is a link that leads"):
        rootfs.place(tmp_path / "root", row, tmp_path / "tool")
    assert not (tmp_path / "outside").exists()


@needs_root
def test_an_image_is_built_of_a_vendors_package_and_program(
    shop: Vendor, trusted: None, tmp_path: Path
) -> None:
    """Then signed by another key, and by one that has expired: refused, and no fallback taken."""
    cache, config = bare(tmp_path)
    archive = shop.publish("tool.zip", zipped("tool", TOOL, 0o100644))
    rows = {"repositories": [repository(shop).model_dump()]}
    rows["archives"] = [archive.model_dump(exclude_none=True)]
    write(tmp_path / "r", made_of(packages=["lab-tool=1.2.3"], otherwise="other", **rows))
    write(tmp_path / "r", made_of("other"))
    built = images.build(cache, config, ["tool"])
    assert (built.faults, built.missing) == ({}, {})
    manifest = images.manifest_of(built.images["tool"])
    assert (manifest["recipe"], manifest["packages"]["lab-tool"]) == ("tool", "1.2.3")
    assert list(manifest["archives"]) == [archive.url]
    argv = ["tar", "--zstd", "-xOf", str(built.images["tool"]), "rootfs/usr/bin/tool"]
    assert subprocess.run(argv, check=True, capture_output=True).stdout == TOOL
    built.images["tool"].unlink()
    expired = shop.key("old", "--faked-system-time", "20200101T000000")
    key = {"key": shop.publish_key("old.asc", "old"), "fingerprint": expired}
    (row,) = rows["repositories"]
    for name, time, changes in (("other", "20260101T000000", {}), ("old", "20200102T000000", key)):
        rows["repositories"] = [{**row, **changes}]
        write(tmp_path / "r", made_of(packages=["lab-tool=1.2.3"], otherwise="other", **rows))
        shop.sign(name, time)
        try:
            refused = images.build(cache, config, ["tool"])
        finally:
            shop.sign("good")
        assert (refused.images, refused.missing) == ({}, {})
        fault = refused.faults["tool"].message
        what = f"recipe tool: apt cannot verify the repository {shop.url('apt')} with the pinned"
        assert fault.startswith(what)


@needs_root
def test_where_no_vendor_can_be_reached_the_other_recipe_is_taken_or_the_image_is_missing(
    shop: Vendor, tmp_path: Path
) -> None:
    cache, config = bare(tmp_path)
    row = repository(shop, key="http://127.0.0.1:1/key")
    rows = {"repositories": [row.model_dump()]}
    write(tmp_path / "r", made_of(otherwise="other", **rows))
    write(tmp_path / "r", made_of("other"))
    write(tmp_path / "r", made_of("alone", **rows))
    built = images.build(cache, config, ["tool", "alone"])
    assert built.faults == {}
    assert built.missing == {
        "alone": "the vendor's package could not be fetched "
        "(http://127.0.0.1:1/key: [Errno 111] Connection refused)"
    }
    assert images.manifest_of(built.images["tool"])["recipe"] == "other"


def bare(tmp_path: Path) -> tuple[Cache, settings.Settings]:
    """A cache that has nothing but the lab's root, and recipes of the test's own."""
    (tmp_path / "r").mkdir()
    own = settings.from_environment({"ATLAS_DRILLS_RECIPES": str(tmp_path / "r")})
    cache = Cache(tmp_path / "cache")
    where = images.plan(cache, own).rootfs
    where.mkdir(parents=True)
    return cache, own
