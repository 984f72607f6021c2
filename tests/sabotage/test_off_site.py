"""Existing backups at another machine: restored from a real OpenSSH server and a real S3, cut."""

from __future__ import annotations

import ssl
from dataclasses import replace
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from fixtures.backups import remote, servers
from fixtures.backups.tarball import inspect
from fixtures.errors import CouldNotLook
from fixtures.evidence.record import Verdict
from fixtures.incus.volumes import Bucket, open_s3
from fixtures.lab import settings
from fixtures.lab.lab import Lab
from fixtures.recovery.bucket import name_in
from fixtures.recovery.existing import Draw
from fixtures.services.terraform_state import S3
from tests.sabotage import acts
from tests.sabotage.test_existing_backups import drilled, unpack_tsdb
from tests.unit import sshd
from tests.unit.sshd import needs_ssh, server

__all__ = ["drilled", "server"]

needs_buckets = pytest.mark.skipif(
    not settings.from_environment().has_buckets, reason="Incus 6.0 needs MinIO for buckets"
)


@pytest.fixture
def by_sftp(server, place):
    return replace(place, places=(server.url(place.places[0]),))


@needs_ssh
def test_a_tarball_recovers_by_sftp_and_says_that_it_was_off_site(drilled, by_sftp):
    drill = drilled("mosquitto", "tarball", where=by_sftp)
    assert drill.verdict is Verdict.RECOVERED, drill.reason
    assert drill.backup.off_site
    assert drill.backup.source.startswith("sftp://backups/")
    assert (drill.origin, drill.shown_origin) == ("existing", "off-site")


@needs_ssh
def test_a_directory_of_blocks_recovers_by_sftp(drilled, place, by_sftp, fleet):
    directory = unpack_tsdb(place, fleet)
    drill = drilled("prometheus", "native", where=by_sftp)
    acts.must_be(drill, Verdict.RECOVERED)
    assert (drill.backup.name, drill.backup.off_site) == (directory.name, True)


@needs_ssh
def test_a_connection_cut_in_the_import_leaves_no_volume(drilled, by_sftp, server, monkeypatch):
    restoring, volumes = [], []
    opened = servers._Sftp.open

    def open_and_cut(self, path):
        whole = opened(self, path)

        def cut(offset, size):
            if restoring and offset > 600:
                server.cut()
            return whole.read(offset, 128 if restoring else size)

        return whole._replace(read=cut)

    def sabotage(existing):
        whole = existing.restore

        def restore():
            restoring.append(True)
            try:
                whole()
            finally:
                volumes.append(existing.service.volume.exists())

        existing.restore = restore

    monkeypatch.setattr(servers._Sftp, "open", open_and_cut)
    drill = drilled("mosquitto", "tarball", sabotage, where=by_sftp)
    assert drill.verdict is Verdict.NOT_VERIFIED
    assert "backups at sftp://backups: " in drill.reason
    assert volumes == [False]
    assert drill.rto is None


@needs_ssh
def test_a_drawn_one_is_drilled_as_the_newest_is(drilled, by_sftp, fleet):
    spec = fleet.service("mosquitto")
    drawn = by_sftp.drawn(spec, "tarball", Draw(1, 7))
    drill = drilled("mosquitto", "tarball", where=drawn)
    assert drill.verdict is Verdict.RECOVERED, drill.reason
    assert by_sftp.drawn(spec, "tarball", Draw(2, 7)) is None


@pytest.fixture
def s3(drill_project):
    with open_s3(drill_project, Lab().dial) as address:
        yield address


@pytest.fixture
def front(s3):
    """The lab's S3 without TLS: OpenSSL takes no certificate of Incus as that of an authority."""

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            unchecked = ssl._create_unverified_context()
            server = HTTPSConnection(s3.host, s3.port, context=unchecked)
            server.request(self.command, self.path, headers=dict(self.headers))
            answer = server.getresponse()
            body = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            size = answer.getheader("Content-Length") or str(len(body))
            self.send_header("Content-Length", size)
            self.end_headers()
            self.wfile.write(body)
            server.close()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Front) as server:
        Thread(target=server.serve_forever, args=(0.05,)).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def by_s3(drill_project, s3, front, place, tmp_path, monkeypatch):
    """The same backups in a bucket of the lab, below a prefix."""
    bucket = Bucket(drill_project, settings.BUCKET_POOL, name_in(drill_project.project))
    bucket.create()
    (key,) = bucket.list_keys()
    client, root = S3(s3, bucket.name, key), place.places[0]
    for path in root.rglob("*"):
        if path.is_file():
            client.request("PUT", f"off/site/{path.relative_to(root)}", data=path.read_bytes())
    aws = tmp_path / "home/.aws"
    aws.mkdir(parents=True)
    (aws / "config").write_text(f"[default]\nendpoint_url = {front}\n")
    (aws / "credentials").write_text(
        f"[default]\naws_access_key_id = {key.access}\n"
        f"aws_secret_access_key = {key.secret.reveal()}\n"
    )
    monkeypatch.setenv("HOME", str(aws.parent))
    yield replace(place, places=(remote.remote_path(f"s3://{bucket.name}/off/site"),))
    client.close()
    sshd.forget()
    bucket.delete()


@needs_buckets
def test_a_tarball_recovers_from_s3(drilled, by_s3, place):
    def shown(backups):
        top = backups.places[0]
        return {
            (str(f.path.relative_to(top)), f.kind, f.names, f.taken_at.date(), f.state)
            for f in backups.files
        }

    assert shown(by_s3) == shown(place)
    drill = drilled("mosquitto", "tarball", where=by_s3)
    assert drill.verdict is Verdict.RECOVERED, drill.reason
    assert drill.backup.source.startswith("s3://")
    assert drill.shown_origin == "off-site"


@needs_buckets
def test_what_s3_refuses_is_said(by_s3, tmp_path):
    newest = [file.path for file in by_s3.files if file.kind == "tarball"][-1]
    with newest.open("rb") as file:
        head = file.read(100)
        file.seek(50)
        assert file.read(50) == head[50:]
        assert file.seek(0, 2) == newest.stat().st_size
        assert file.read(1) == b""
    assert not (newest.parent / "gone").exists()
    assert newest.is_file() and by_s3.places[0].is_dir()
    with pytest.raises(FileNotFoundError):
        (newest.parent / "gone").open()
    credentials = tmp_path / "home/.aws/credentials"
    credentials.write_text(credentials.read_text()[:-3] + "xx\n")
    sshd.forget()
    with pytest.raises(CouldNotLook, match="backups at s3://") as told:
        inspect(newest, volume="mosquitto01-data")
    assert "aws s3 ls" in told.value.hint
