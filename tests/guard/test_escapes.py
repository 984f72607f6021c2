"""What an attacker of the guard would send, beside foreign projects; and what a drill needs."""

from __future__ import annotations

import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import UnixStreamServer
from urllib.parse import quote

import pylxd
import pytest
import requests

from fixtures.errors import GuardRefused
from fixtures.incus.guard import MARKER_KEY, DrillPolicy, GuardAdapter, guarded_session
from tests.guard.wire import BASE, CLOSED, OURS, PROJECTS, RUN, Wire, is_refused, prepared

INSTANCES = f"/1.0/instances?project={OURS}"
VOLUMES = f"/1.0/storage-pools/local/volumes/custom?project={OURS}"
OCTETS = {"Content-Type": "application/octet-stream"}
SMUGGLED = b"0\r\n\r\nDELETE /1.0/instances/grafana01?project=atlas HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "path",
    [
        "/1.0/instances/x/%73ftp",
        "/1.0/instances/x/%2573ftp",
        "/1.0/instances/x/sftp/",
        "/1.0//instances/x//sftp",
        "/1.0/operations/x/websocket?secret=s",
        f"/1.0/operations/x/websocket?secret=s&project={OURS}",
        "/1.0/../internal/containers/x/onstop",
        "/internal/containers/x/onstop",
        "/1.0/%2e%2e/internal/debug/gc",
        "/1.0x",
    ],
)
def test_a_read_that_writes_is_refused(guard, wire, path):
    for verb in ("GET", "HEAD"):
        request = prepared(verb, "/1.0")
        request.url = BASE + path
        assert is_refused(guard, request)
    assert wire.sent == []


def test_a_read_that_upgrades_is_refused_but_in_our_project(guard, wire, monkeypatch):
    assert is_refused(guard, prepared("GET", "/1.0/events", headers={"Upgrade": "x"}))
    guard.send(prepared("GET", f"/1.0/instances/x/sftp?project={OURS}"))
    volume = f"/1.0/storage-pools/local/volumes/custom/x/sftp?project={OURS}"
    guard.send(prepared("GET", volume))
    monkeypatch.setitem(PROJECTS, OURS, {**CLOSED, "features.storage.volumes": "false"})
    assert is_refused(guard, prepared("GET", volume))
    assert len(wire.sent) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"Transfer-Encoding": "chunked"},
        {"Transfer-Encoding": "identity", "Content-Length": "0"},
        {"Content-Length": "0"},
        {"Content-Length": "+5"},
        {"Content-Length": "9999"},
    ],
)
@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_no_second_request_hides_behind_the_body(guard, wire, verb, headers):
    request = prepared(verb, f"/1.0/instances/x/files?project={OURS}&path=/x", headers=OCTETS)
    request.body = SMUGGLED
    request.headers["Content-Length"] = str(len(SMUGGLED))
    request.headers.update(headers)
    assert is_refused(guard, request)
    assert wire.sent == []


def test_a_stream_that_grows_is_sent_to_its_length_only(guard, wire):
    stream = io.BytesIO(b"12345")
    files = f"{BASE}/1.0/instances/x/files?project={OURS}&path=/x"
    request = requests.Request("POST", files, data=stream, headers=OCTETS).prepare()
    stream.seek(0, io.SEEK_END)
    stream.write(SMUGGLED)
    stream.seek(0)
    guard.send(request)
    assert request.body.read(2) + request.body.read() == b"12345"
    assert request.body.read(1) == b""
    request.body = ["no", "file"]
    assert is_refused(guard, request)
    assert len(wire.sent) == 1


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "x", "Project": "default"}',
        '{"name": "x", "Devices": {"e": {"type": "nic"}}}',
        '{"name": "x", "CONFIG": {"raw.lxc": "x"}}',
        '{"name": "x", "\\u017fource": {"type": "migration"}}',
        '{"name": "x", "config": {}, "config": {"raw.lxc": "x"}}',
        # Go merges both maps where Python keeps the last.
        '{"name": "x", "config": {"raw.lxc": "x"}, "config": {}}',
        '{"source": {"type": "copy", "Mode": "push", "source": "x"}}',
        '{"source": {"type": "image", "server": "https://images.example", "alias": "x"}}',
        '{"source": {"type": "migration", "mode": "pull", "operation": "https://x"}}',
        '{"source": {"type": "image", "alias": "x", "certificate": "x"}}',
        '{"source": "x"}',
        '{"devices": {"d": {"type": "disk", "pool": "local", "raw.mount.options": "x"}}}',
        '{"name": "x"} {"project": "default"}',
        "[" * 100_000,
    ],
)
def test_a_body_with_two_readings_or_a_far_source_is_refused(guard, wire, body):
    for verb, url in (("POST", INSTANCES), ("POST", VOLUMES)):
        request = prepared(verb, url)
        request.prepare_body(body, None)
        assert is_refused(guard, request), body
    assert wire.sent == []


def test_only_custom_volumes_are_made(guard, wire):
    assert is_refused(guard, prepared("POST", VOLUMES, {"name": "x", "type": "container"}))
    assert wire.sent == []


@pytest.mark.parametrize("name", ["devices", "config", "project", "profiles", "authenticated"])
def test_a_header_gives_an_import_nothing_that_no_body_shows(guard, name):
    with pytest.raises(GuardRefused, match="header"):
        guard.send(prepared("POST", INSTANCES, headers={**OCTETS, f"X-Incus-{name}": "x"}))


@pytest.mark.parametrize("extra", ["recursion=1", "target-project=atlas", "public=1", "a;b=1"])
def test_an_unknown_parameter_of_a_change_is_refused(guard, extra):
    assert is_refused(guard, prepared("POST", f"{INSTANCES}&{extra}", {"name": "x"}))


def test_an_encoded_project_is_refused(guard):
    for query in (f"p%72oject={OURS}", f"project=%64{OURS[1:]}"):
        request = prepared("POST", "/1.0/instances")
        request.url = f"{BASE}/1.0/instances?{query}"
        assert is_refused(guard, request)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("restricted.containers.privilege", "allow"),
        ("restricted.containers.lowlevel", "allow"),
        ("restricted.devices.unix-char", "allow"),
        ("restricted.devices.disk.paths", "/"),
        ("restricted.devices.proxy", "allow"),
        ("restricted.networks.access", "incusbr0"),
    ],
)
def test_our_project_is_never_loosened(guard, wire, key, value):
    config = {**CLOSED, key: value}
    for verb, path in (
        ("POST", "/1.0/projects"),
        ("PUT", f"/1.0/projects/{OURS}"),
        ("PATCH", f"/1.0/projects/{OURS}"),
    ):
        with pytest.raises(GuardRefused, match=re.escape(key)):
            guard.send(prepared(verb, path, {"name": OURS, "config": config}))
    for body in ({"config": {MARKER_KEY: ""}}, {"config": {"restricted": True}}, {"config": None}):
        assert is_refused(guard, prepared("PATCH", f"/1.0/projects/{OURS}", body))
    assert is_refused(guard, prepared("POST", "/1.0/projects", {"Name": "x", **{"name": OURS}}))
    assert wire.sent == []


def test_a_dead_runs_project_is_only_removed(guard, wire):
    guard.policy.adopt("drill-other")
    scope = "?project=drill-other"
    guard.send(prepared("PUT", f"/1.0/instances/x/state{scope}", {"action": "stop"}))
    guard.send(prepared("DELETE", f"/1.0/instances/x{scope}"))
    assert is_refused(guard, prepared("POST", f"/1.0/instances/x/exec{scope}", {"command": ["x"]}))
    assert is_refused(guard, prepared("PATCH", "/1.0/projects/drill-other", {"config": {}}))
    assert len(wire.sent) == 2


@pytest.mark.parametrize("status", [301, 403, 500, 200])
def test_a_project_that_cannot_be_read_is_not_changed(guard, wire, monkeypatch, status):
    answer = requests.Response()
    answer.status_code, answer._content = status, b"nonsense"
    monkeypatch.setattr(wire, "send", lambda *args, **kwargs: answer)
    with pytest.raises(GuardRefused, match="cannot be read"):
        guard.send(prepared("DELETE", f"/1.0/instances/x?project={OURS}"))


def test_a_call_cannot_change_whom_we_speak_to():
    seen = {}

    class Options(Wire):
        def send(self, request, *args, **kwargs):
            seen.update(kwargs)
            return super().send(request, *args, **kwargs)

    pinned = {"cert": ("c", "k"), "verify": "pinned.crt"}
    pinning = GuardAdapter(Options(), BASE, DrillPolicy(RUN), pinned=pinned)
    pinning.send(prepared("GET", "/1.0"), verify=False, cert=None, proxies={"all": "x"}, timeout=3)
    assert seen == {"timeout": 3, **pinned, "proxies": {}}


NEEDED = [
    ("POST", "instances", {"name": "x", "source": {"type": "image", "alias": "trixie"}}),
    ("POST", "instances", {"name": "x", "source": {"type": "copy", "source": "y"}}),
    ("POST", "instances", {"name": "x", "source": {"type": "image", "certificate": ""}}),
    ("PUT", "instances/x/state", {"action": "start"}),
    ("POST", "instances/x/exec", {"command": ["true"], "record-output": True}),
    ("DELETE", "instances/x/logs/exec-output/exec_1-a.stdout", None),
    ("POST", "instances/x/snapshots", {"name": "s"}),
    ("PUT", "profiles/default", {"devices": {"r": {"type": "disk", "path": "/", "pool": "p"}}}),
    ("POST", "storage-pools/p/volumes/custom", {"name": "v", "type": "custom", "config": {}}),
    ("POST", "storage-pools/p/volumes/custom/v/snapshots", {"name": "s"}),
    ("PUT", "storage-pools/p/volumes/custom/v", {"restore": "s"}),
    ("POST", "storage-pools/p/volumes/custom/v/backups", {"volume_only": True}),
    ("DELETE", "storage-pools/p/volumes/custom/v", None),
    ("POST", "storage-pools/p/buckets/b/keys", {"name": "k", "role": "admin"}),
]


def test_what_a_drill_needs_passes(guard, wire):
    for verb, path, body in NEEDED:
        guard.send(prepared(verb, f"/1.0/{path}?project={OURS}", body))
    for path in ("instances", "storage-pools/p/volumes/custom", "storage-pools/p/buckets"):
        headers = {**OCTETS, "X-Incus-name": "n"}
        url = f"{BASE}/1.0/{path}?project={OURS}"
        data = io.BytesIO(b"tar")
        guard.send(requests.Request("POST", url, data=data, headers=headers).prepare())
    assert len(wire.sent) == len(NEEDED) + 3
    assert guard.policy.refusals == []


class Server(BaseHTTPRequestHandler):
    """Enough of an Incus for pylxd's first question; it redirects every POST to the source."""

    def answer(self, metadata, location=None):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path))
        body = json.dumps({"type": "sync", "metadata": metadata}).encode()
        self.send_response(307 if location else 200)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        what = {"server_version": "7.0.2", "server_name": "x"}
        told = {"api_extensions": ["projects"], "config": dict(CLOSED), "environment": what}
        self.answer(told)

    def do_POST(self):
        base = "http+unix://" + quote(self.server.server_address, safe="")
        self.answer({}, f"{base}/1.0/instances/grafana01/exec?project=atlas")

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def server(tmp_path):
    with UnixStreamServer(str(tmp_path / "s"), Server) as running:
        running.seen = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_pylxds_client_speaks_through_the_guard(server):
    path = server.server_address
    with guarded_session(path, DrillPolicy(RUN)) as session:
        client = pylxd.Client(endpoint=path, session=session, project="atlas")
        with pytest.raises(GuardRefused, match="is no drill project by its name"):
            client.api.instances["grafana01"].delete()
        with pytest.raises(requests.exceptions.InvalidSchema):
            session.get("http://127.0.0.1/1.0")
    assert server.seen == [("GET", "/1.0?project=atlas")]


def test_a_redirect_passes_the_guard_again(server):
    with guarded_session(server.server_address, DrillPolicy(RUN)) as session:
        client = pylxd.Client(endpoint=server.server_address, session=session, project=OURS)
        with pytest.raises(GuardRefused, match="project 'atlas' is no drill project by its name"):
            client.api.instances["x"]["exec"].post(json={"command": ["true"]})
    asked = ("GET", f"/1.0/projects/{OURS}")
    sent = ("POST", f"/1.0/instances/x/exec?project={OURS}")
    assert server.seen == [("GET", f"/1.0?project={OURS}"), asked, sent]
