"""What vendors publish, from a vendor of our own: a signed repository and archives on loopback.

The last test builds a real root file system with mmdebstrap, and needs root and a Debian mirror.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import lzma
import socket
import ssl
import subprocess
import tarfile
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures.errors import LabError
from fixtures.lab import images, settings
from fixtures.lab.cache import Cache, VendorUnreachable

TOOL = b"#!/bin/sh\necho from the vendor\n"
PACKAGE = (
    "Package: lab-tool\nVersion: 1.2.3\nArchitecture: all\nMaintainer: V <v@vendor.example>\n"
    "Description: a tool\n"
)


def run(*argv):
    done = subprocess.run([str(word) for word in argv], check=True, capture_output=True)
    return done.stdout.decode()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a directory; of a file `cut` it sends half of the content."""

    def copyfile(self, source, outputfile):
        content = source.read()
        outputfile.write(content[: len(content) // (2 if self.path == "/cut" else 1)])

    def log_message(self, *_):
        pass


@dataclass(frozen=True)
class Vendor:
    """A directory that is served with and without TLS, and the keys that sign in it."""

    files: Path
    home: Path
    port: int
    tls_port: int

    def gpg(self, *words):
        return run("gpg", "--homedir", self.home, "--batch", "--yes", *words)

    def key(self, name):
        """Make a signing key, and publish it; returns its fingerprint."""
        new = ["--passphrase", "", "--quick-generate-key", f"{name} <{name}@vendor.example>"]
        self.gpg(*new, "ed25519", "sign", "1y")
        self.publish_key(name, name)
        return self.fingerprint(name)

    def publish_key(self, file, *names):
        (self.files / file).write_text(self.gpg("--armor", "--export", *names))
        return self.url(file)

    def fingerprint(self, name):
        lines = self.gpg("--with-colons", "--list-keys", name).splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def url(self, file):
        return f"http://127.0.0.1:{self.port}/{file}"

    def sign(self, name):
        suite = self.files / "apt/dists/stable"
        words = ["--local-user", name, "--output", suite / "InRelease", "--clearsign"]
        self.gpg(*words, suite / "Release")

    def repository(self, name="good", **changes):
        row = {"url": self.url("apt"), "suite": "stable", "components": ["main"]}
        return {**row, "key": self.url(name), "fingerprint": self.fingerprint(name), **changes}

    def publish(self, file, content, **row):
        """Publish an archive, and its line in the list of checksums behind TLS."""
        (self.files / file).write_bytes(content)
        listed = f"{hashlib.sha256(content).hexdigest()}  {file}\n"
        (self.files / "checksums.txt").write_text(f"{'0' * 64}  other.zip\n{listed}")
        pin = row or {"checksums": f"https://127.0.0.1:{self.tls_port}/checksums.txt"}
        return {"url": self.url(file), "path": "/usr/bin/tool", "member": "tool", **pin}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A vendor with a repository of one package that `good` has signed, and a second key."""
    files, home = tmp_path_factory.mktemp("vendor"), tmp_path_factory.mktemp("g")
    home.chmod(0o700)
    key = home / "tls.key"
    made = ["-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=vendor", "-keyout", key]
    run("openssl", "req", *made, "-addext", "subjectAltName=IP:127.0.0.1", "-out", home / "tls.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "tls.pem", key)
    handler = functools.partial(Handler, directory=str(files))
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    servers[1].socket = context.wrap_socket(servers[1].socket, server_side=True)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    vendor_ = Vendor(files, home, *(server.server_port for server in servers))
    vendor_.key("good")
    vendor_.key("other")
    publish_package(files / "apt")
    vendor_.sign("good")
    yield vendor_
    for server in servers:
        server.shutdown()
        server.server_close()
    run("gpgconf", "--homedir", home, "--kill", "all")


def publish_package(archive):
    """Write a repository, suite stable, component main, with the package `lab-tool` 1.2.3."""
    tree, deb = archive.parent / "tree", archive / "pool/lab-tool_1.2.3_all.deb"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(PACKAGE)
    deb.parent.mkdir(parents=True)
    run("dpkg-deb", "--root-owner-group", "--build", tree, deb)
    sum_, size = hashlib.sha256(deb.read_bytes()).hexdigest(), deb.stat().st_size
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
def trusted(shop, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(shop.home / "tls.pem"))


def made_of(name="tool", **tables):
    data = {"name": name, "kind": "instance", "description": "x", "suite": "trixie"}
    return settings.Recipe.model_validate({**data, "packages": ["less"], **tables})


@pytest.mark.parametrize("names", [("good",), ("other",), ("good", "other"), ()])
def test_the_pinned_key_alone_is_given_to_apt(shop, names):
    (shop.files / "no-key").write_text("<html>Sign in</html>")
    url = shop.publish_key("given", *names) if names else shop.url("no-key")
    made = made_of(repositories=[shop.repository(key=url)])
    if names == ("good",):
        stanza, _, key = images.apt_sources(made).partition("Signed-By:\n")
        assert stanza == f"Types: deb\nURIs: {shop.url('apt')}\nSuites: stable\nComponents: main\n"
        assert key.replace("\n ", "\n").lstrip().replace("\n.\n", "\n\n") == shop.gpg(
            "--armor", "--export", "good"
        )
        return
    held = ", ".join(shop.fingerprint(name) for name in names)
    what = f"the key {url} cannot be read: "
    if names:
        good = shop.fingerprint("good")
        what = (
            f"{url} holds the primary keys {held}, not {good} alone, as pinned; nothing was built"
        )
    with pytest.raises(LabError) as caught:
        images.apt_sources(made)
    assert caught.value.message.startswith(f"recipe tool: {what}")
    assert not isinstance(caught.value, VendorUnreachable)


@pytest.mark.parametrize("how", ["refused", "cut", "silent", "404", "untrusted"])
def test_a_vendor_that_cannot_be_reached_is_named_with_the_cause(shop, monkeypatch, tmp_path, how):
    (shop.files / "cut").write_bytes(b"0123456789")
    monkeypatch.setattr(images, "SILENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url, why = {
            "refused": ("http://127.0.0.1:1/x", "[Errno 111] Connection refused"),
            "cut": (shop.url("cut"), "IncompleteRead(5 bytes read, 5 more expected)"),
            "silent": (f"http://127.0.0.1:{silent.getsockname()[1]}/x", "timed out"),
            "404": (shop.url("none"), "404 Client Error: File not found"),
            "untrusted": (f"https://127.0.0.1:{shop.tls_port}/x", "CERTIFICATE_VERIFY_FAILED"),
        }[how]
        with pytest.raises(VendorUnreachable) as caught:
            images.download(url, tmp_path / "x", "tool")
    reason = caught.value.reason
    assert reason.startswith(f"the vendor's package could not be fetched ({url}: ")
    assert why in reason
    assert caught.value.message == f"recipe tool: {reason}; nothing was put into the cache"


def test_an_archive_is_held_against_the_vendors_list(shop, trusted, tmp_path):
    """1. By the list. 2. From the cache. 3. Unlike its list. 4. Unlike its pin. 5. In no list."""
    cache, made, url = Cache(tmp_path), made_of(), shop.url("tool_amd64.zip")

    def fetched(**row):
        return images.archive(cache, made, settings.Archive(**row), "amd64")

    def refused(words, **row):
        with pytest.raises(LabError) as caught:
            fetched(**row)
        assert caught.value.message == f"recipe tool: {words}; nothing was built"
        assert list((tmp_path / "archives").iterdir()) == []

    row = {**shop.publish("tool_amd64.zip", b"as published"), "url": url.replace("amd64", "{arch}")}
    first, second = (hashlib.sha256(text).hexdigest() for text in (b"as published", b"as changed"))
    path, *found = fetched(**row)
    assert (found, path.read_bytes()) == ([url, first], b"as published")
    (shop.files / "tool_amd64.zip").write_bytes(b"as changed")
    assert fetched(**row)[0] == path
    path.unlink()
    changed = f"{url} has the SHA-256 {second}, not {first}"
    refused(f"{changed} as pinned or published", **row)
    pinned = {**row, "checksums": None, "sha256": first}
    refused(f"{changed} as pinned or published", **pinned)
    (shop.files / "checksums.txt").write_text(f"{first}  other.zip\n")
    refused(f"{row['checksums']} has no SHA-256 of tool_amd64.zip", **row)


def packed(*members):
    """An uncompressed tar of (name, content, type)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "/etc/passwd", len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zipped(name, content, attributes):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        info = zipfile.ZipInfo(name)
        info.external_attr = attributes << 16
        file.writestr(info, content)
    return out.getvalue()


PLAIN = packed(("../../escaped", b"x", tarfile.REGTYPE), ("bin/tool", TOOL, tarfile.REGTYPE))
ARCHIVES = {
    "tar.gz": (gzip.compress(PLAIN), None),
    "tar.xz": (lzma.compress(PLAIN), None),
    "zip": (zipped("bin/tool", TOOL, 0o100755), None),
    "link": (packed(("bin/tool", b"", tarfile.SYMTYPE)), "no regular file bin/tool in it"),
    "device": (packed(("bin/tool", b"", tarfile.CHRTYPE)), "no regular file bin/tool in it"),
    "link in a zip": (zipped("bin/tool", b"/etc/passwd", 0o120777), "no regular file bin/tool"),
    "absent": (packed(("tool", TOOL, tarfile.REGTYPE)), "no regular file bin/tool in it"),
    "cut": (gzip.compress(PLAIN)[:60], " cannot be read: "),
    "no archive": (b"<html>Sign in</html>", " cannot be read: "),
}


@pytest.mark.parametrize(("content", "fault"), ARCHIVES.values(), ids=ARCHIVES)
def test_one_program_is_taken_out_of_an_archive_and_nothing_else(tmp_path, content, fault):
    directory = tmp_path / "a/b"
    directory.mkdir(parents=True)
    archive, out = directory / "archive", directory / "out"
    archive.write_bytes(content)
    if fault:
        with pytest.raises(LabError, match=f"^recipe tool: archive.*{fault}"):
            images.extract(archive, "bin/tool", out, "recipe tool: archive")
        return
    images.extract(archive, "bin/tool", out, "recipe tool: archive")
    assert out.read_bytes() == TOOL
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b", "archive", "out"}


@pytest.mark.parametrize("link", ["/etc", "../../outside"])
def test_no_link_of_a_root_file_system_leads_to_the_hosts_files(tmp_path, link):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/opt").symlink_to(link)
    (tmp_path / "tool").write_bytes(TOOL)
    with pytest.raises(LabError, match=r"^/opt/tool of the root file system is a link that leads"):
        images.place(tmp_path / "root", "/opt/tool", tmp_path / "tool")
    assert not (tmp_path / "outside").exists()


def test_an_image_is_made_of_a_vendors_package_and_program(shop, trusted, tmp_path):
    """1. By the recipe whose vendor answers. 2. Signed by another key."""
    config = settings.from_environment({"ATLAS_DRILLS_RECIPES": str(tmp_path)})
    lines = []
    cache, away = Cache(tmp_path / "cache", lines.append), "http://127.0.0.1:1/key"
    images.plan(cache, config).rootfs.mkdir(parents=True)
    archive = shop.publish("tool.zip", zipped("tool", TOOL, 0o100644))

    def write(name, repository, **fields):
        data = made_of(name, repositories=[repository], **fields).model_dump(exclude_unset=True)
        rows = {table: data.pop(table, []) for table in ("repositories", "archives")}
        lines = [f"{field} = {value!r}" for field, value in data.items()]
        for table, (row,) in ((table, found) for table, found in rows.items() if found):
            lines += [f"[[{table}]]", *(f"{field} = {value!r}" for field, value in row.items())]
        (tmp_path / f"{name}.toml").write_text("\n".join(lines) + "\n")

    parts = {"packages": ["lab-tool=1.2.3"], "archives": [archive]}
    write("tool", shop.repository(key=away), otherwise="reached")
    write("alone", shop.repository(key=away))
    write("reached", shop.repository(), **parts)
    built = images.build(cache, config, ["tool", "alone"])
    reason = f"the vendor's package could not be fetched ({away}: [Errno 111] Connection refused)"
    assert (built.faults, built.missing) == ({}, {"alone": reason})
    assert "tool: the vendor cannot be reached; recipe reached is used" in lines
    assert not [line for line in lines if "failed" in line or line.startswith("image alone")]
    manifest = images.manifest_of(built.images["tool"])
    assert (manifest["recipe"], manifest["packages"]["lab-tool"]) == ("reached", "1.2.3")
    assert list(manifest["archives"]) == [archive["url"]]
    program = run("tar", "--zstd", "-xOf", built.images["tool"], "rootfs/usr/bin/tool")
    assert program.encode() == TOOL
    built.images["tool"].unlink()
    shop.sign("other")
    refused = images.build(cache, config, ["reached"])
    assert (refused.images, refused.missing) == ({}, {})
    what = f"recipe reached: apt cannot verify the repository {shop.url('apt')} with the pinned"
    assert refused.faults["reached"].message.startswith(what)
    shop.sign("good")
