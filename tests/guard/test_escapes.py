"""What could reach out of a drill project: paths, parameters, headers, bodies, projects."""

import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import UnixStreamServer
from urllib.parse import quote

import pytest
import requests

from fixtures.errors import GuardRefused, IncusError
from fixtures.incus.client import Incus
from fixtures.incus.guard import (
    MARKER_KEY,
    PREPARED_KEY,
    REQUIRED,
    DrillPolicy,
    ReadPolicy,
    guarded_session,
)
from tests.guard.wire import BASE, CLOSED, OURS, PREPARED, PROJECTS, RUN, Guarded
from tests.unit.servers import context_of, identity
from tests.unit.servers import server as tls_server

IN_OURS = f"?project={OURS}"
INSTANCES = f"/1.0/instances{IN_OURS}"
VOLUMES = f"/1.0/storage-pools/local/volumes/custom{IN_OURS}"
BUCKETS = "/1.0/storage-pools/terraform-state/buckets"
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def guard():
    return Guarded()


@pytest.mark.parametrize(
    "path",
    [
        "/1.0/instances/x/%73ftp?project=atlas",
        "/1.0/instances/x/%2573ftp?project=atlas",
        "/1.0/instances/x/sftp/?project=atlas",
        "/1.0//instances/x//sftp?project=atlas",
        "/1.0/operations/x/websocket?secret=s",
        f"/1.0/operations/x/websocket?secret=s&project={OURS}",
        "/1.0/../internal/containers/x/onstop",
        "/internal/containers/x/onstop",
        "/1.0/%2e%2e/internal/debug/gc",
        "/1.0x",
    ],
)
def test_a_read_that_writes_is_refused_however_its_path_is_written(guard, path):
    for verb in ("GET", "HEAD"):
        assert guard.refuses(verb, "/1.0", url=BASE + path)


@pytest.mark.parametrize(
    "path",
    [
        "/1.0/instances/../projects/default",
        "/1.0/instances/%2e%2e/x",
        "/1.0/instances/..",
        "/1.0/instances/.",
        "/1.0/instances/a%2Fb",
        "/1.0//instances/x",
        "/1.0/instances/x;y",
        "/1.0/instances/x/",
        "/1.0/instances/x#y",
        "/2.0/instances/x",
        "/1.0/../internal/shutdown",
    ],
)
def test_a_change_of_an_odd_path_is_refused(guard, path):
    assert guard.refuses("DELETE", "/1.0/x", url=f"{BASE}{path}{IN_OURS}")


@pytest.mark.parametrize(
    "url",
    [
        f"http+unix://%2Fother.socket/1.0/instances/x{IN_OURS}",
        f"https://incus.example:8443/1.0/instances/x{IN_OURS}",
        f"{BASE}.evil/1.0/instances/x{IN_OURS}",
    ],
)
def test_another_server_is_refused(guard, url):
    with pytest.raises(GuardRefused, match="another server"):
        guard.send("GET", "/1.0", url=url)


def test_a_call_cannot_change_whom_we_speak_to(tmp_path):
    own, seen = identity("a.test"), []

    def answer(connection):
        seen.append(connection.recv(1))

    file = tmp_path / "pinned.crt"
    with tls_server(answer, context_of(own)) as dial:
        with dial() as probe:
            base = "https://{}:{}".format(*probe.getpeername())
        for pinned in (own, identity("a.test")):
            file.write_bytes(pinned.pem)
            session = guarded_session(base, ReadPolicy(), verify=str(file))
            expected = requests.ReadTimeout if pinned is own else IncusError
            with session, pytest.raises(expected) as refused:
                session.get(f"{base}/1.0", verify=False, proxies={"https": "x"}, timeout=0.5)
    assert "another certificate than the one that is pinned" in str(refused.value)
    assert list(filter(None, seen)) == [b"G"]


def test_write_access_by_a_read_is_for_our_own_project(guard, monkeypatch):
    volume = f"/1.0/storage-pools/local/volumes/custom/x/sftp{IN_OURS}"
    assert not guard.refuses("GET", f"/1.0/instances/x/sftp{IN_OURS}")
    assert not guard.refuses("GET", volume)
    assert guard.refuses("GET", "/1.0/events", headers={"Upgrade": "x"})
    monkeypatch.setitem(PROJECTS, OURS, {**CLOSED, "features.storage.volumes": "false"})
    with pytest.raises(GuardRefused, match="open volumes of project default"):
        guard.send("GET", volume)


KEYS = [
    f"{BUCKETS}/b/keys?",
    f"{BUCKETS}/b/keys?recursion=1&",
    f"{BUCKETS}/b/keys/admin?",
    f"{BUCKETS}/b?recursion=1&",
    f"{BUCKETS}/b?recursion=0&recursion=1&",
    f"{BUCKETS}/b?recursio%6e=2&",
    f"{BUCKETS}?recursion=2&",
    f"{BUCKETS}?recursion=1&recursion=2&",
    f"{BUCKETS}/?recursion=2&",
    "//1.0/storage-pools/terraform-state//buckets/b/%6beys?",
]


@pytest.mark.parametrize("path", KEYS)
def test_the_keys_of_a_foreign_bucket_are_not_read(guard, monkeypatch, path):
    for project in ("project=atlas", "project=default", "all-projects=true", ""):
        assert guard.refuses("GET", "/1.0", url=f"{BASE}{path}{project}"), project
    assert not guard.refuses("GET", "/1.0", url=f"{BASE}{path}project={OURS}")
    monkeypatch.setitem(PROJECTS, OURS, {**CLOSED, "features.storage.buckets": "false"})
    with pytest.raises(GuardRefused, match="open buckets of project default"):
        guard.send("GET", "/1.0", url=f"{BASE}{path}project={OURS}")


def test_the_buckets_of_a_source_are_listed(guard):
    for path in (f"{BUCKETS}?", f"{BUCKETS}?recursion=1&", f"{BUCKETS}/b?"):
        assert not guard.refuses("GET", f"{path}project=atlas")


@pytest.mark.parametrize(
    ("feature", "path"),
    [
        ("features.profiles", "/1.0/profiles/default"),
        ("features.storage.volumes", "/1.0/storage-pools/local/volumes/custom/grafana01-data"),
        ("features.storage.buckets", f"{BUCKETS}/atlas"),
    ],
)
def test_without_a_feature_the_objects_would_be_those_of_default(guard, monkeypatch, feature, path):
    monkeypatch.setitem(PROJECTS, OURS, {**CLOSED, feature: "false"})
    with pytest.raises(GuardRefused, match="this would change project default"):
        guard.send("DELETE", path + IN_OURS)


@pytest.mark.parametrize("extra", ["recursion=1", "target-project=atlas", "public=1", "a;b=1"])
def test_an_unknown_parameter_of_a_change_is_refused(guard, extra):
    assert guard.refuses("POST", f"{INSTANCES}&{extra}", {"name": "x"})


@pytest.mark.parametrize("name", ["devices", "config", "project", "profiles", "authenticated"])
def test_a_header_gives_an_import_nothing_that_no_body_shows(guard, name):
    with pytest.raises(GuardRefused, match="header"):
        guard.send("POST", INSTANCES, headers={**OCTETS, f"X-Incus-{name}": "x"})


BODIES = {
    "moved to another project": {"project": "default"},
    "migrated": {"name": "x", "migration": True},
    "sent to a target": {"target": {"operation": "x"}},
    "a NIC": {"devices": {"eth0": {"type": "nic", "network": "incusbr0"}}},
    "a disk of the host": {"devices": {"d": {"type": "disk", "source": "/", "path": "/host"}}},
    "a path and a pool": {"devices": {"d": {"type": "disk", "source": "/etc", "pool": "local"}}},
    "a disk without a pool": {"devices": {"d": {"type": "disk", "path": "/e", "source": "x"}}},
    "raw options": {"devices": {"d": {"type": "disk", "pool": "local", "raw.mount.options": "x"}}},
    "a proxy": {"devices": {"p": {"type": "proxy", "listen": "tcp:0.0.0.0:80"}}},
    "a unix device": {"devices": {"k": {"type": "unix-char", "path": "/dev/kvm"}}},
    "raw config": {"config": {"raw.lxc": "lxc.hook.pre-start = /bin/sh"}},
    "a privileged container": {"config": {"security.privileged": "true"}},
    "devices that are no map": {"devices": ["eth0"]},
    "config that is no map": {"config": "raw.lxc"},
    "a source that is no map": {"source": "x"},
    "a source that is a number": {"source": [7]},
    "pushed": {"source": {"type": "migration", "mode": "push"}},
    "a copy that pushes": {"source": {"type": "copy", "mode": "push", "source": "x"}},
    "pulled": {"source": {"type": "migration", "mode": "pull", "operation": "https://x"}},
    "another image server": {"source": {"type": "image", "server": "https://x", "alias": "x"}},
    "a certificate": {"source": {"type": "image", "alias": "x", "certificate": "x"}},
    "a list": [1],
    "no JSON": b"not json",
    "a key twice": b'{"config": {"raw.lxc": "x"}, "config": {}}',
    "a key in capitals, as Go reads it": {"Source": {"type": "migration"}},
    "a key of a source in capitals": {"source": {"type": "copy", "source": "a/b", "Mode": "push"}},
    "a long s, as Go reads it": '{"\u017fource": {"type": "migration"}}'.encode(),
    "two objects": b'{"name": "x"} {"project": "default"}',
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "/1.0/instances"),
        ("PUT", "/1.0/instances/x"),
        ("PATCH", "/1.0/instances/x"),
        ("PUT", "/1.0/profiles/default"),
        ("POST", "/1.0/storage-pools/local/volumes/custom"),
        ("PUT", "/1.0/storage-pools/local/volumes/custom/x"),
    ],
)
def test_a_body_that_reaches_out_is_refused(guard, verb, path, body):
    assert guard.refuses(verb, path + IN_OURS, body)


def test_only_custom_volumes_are_made(guard):
    with pytest.raises(GuardRefused, match="of type 'container' instead of custom"):
        guard.send("POST", VOLUMES, {"name": "x", "type": "container"})


def test_a_copy_that_may_freeze_its_source_is_refused(guard):
    copy = {"type": "copy", "source": "grafana01", "project": "atlas", "instance_only": True}
    for inconsistent in ({}, {"allow_inconsistent": False}, {"allow_inconsistent": "true"}):
        assert guard.refuses("POST", INSTANCES, {"source": {**copy, **inconsistent}})
    for allowed in (
        {**copy, "allow_inconsistent": True},
        {**copy, "source": "grafana01/yesterday"},
        {**copy, "project": OURS},
    ):
        assert not guard.refuses("POST", INSTANCES, {"name": "grafana01", "source": allowed})


NEEDED = [
    ("POST", "instances", {"name": "x", "source": {"type": "image", "alias": "trixie"}}),
    ("POST", "instances", {"name": "x", "source": {"type": "copy", "source": "y"}}),
    ("PUT", "instances/x/state", {"action": "start"}),
    ("POST", "instances/x/exec", {"command": ["true"], "record-output": True}),
    ("DELETE", "instances/x/logs/exec-output/exec_1-a.stdout", None),
    ("POST", "instances/x/snapshots", {"name": "s"}),
    ("PUT", "profiles/default", {"devices": {"r": {"type": "disk", "path": "/", "pool": "p"}}}),
    ("POST", "storage-pools/p/volumes/custom", {"name": "v", "type": "custom", "config": {}}),
    (
        "POST",
        "storage-pools/p/volumes/custom",
        {"name": "v", "source": {"type": "copy", "name": "v", "pool": "p", "project": "atlas"}},
    ),
    ("POST", "storage-pools/p/volumes/custom/v/snapshots", {"name": "s"}),
    ("PUT", "storage-pools/p/volumes/custom/v", {"restore": "s"}),
    ("POST", "storage-pools/p/volumes/custom/v/backups", {"volume_only": True}),
    ("DELETE", "storage-pools/p/volumes/custom/v", None),
    ("POST", "storage-pools/p/buckets/b/keys", {"name": "k", "role": "admin"}),
    ("POST", "storage-pools/p/buckets/b/backups", {}),
    ("DELETE", "storage-pools/p/buckets/b/keys/k", None),
]


@pytest.mark.parametrize("project", [OURS, PREPARED, "atlas", "default"])
def test_what_a_drill_needs_passes_in_a_drill_project_only(guard, project):
    is_ours = project in (OURS, PREPARED)
    for verb, path, body in NEEDED:
        assert guard.refuses(verb, f"/1.0/{path}?project={project}", body) is not is_ours, path
    headers = {**OCTETS, "X-Incus-name": "n"}
    for path in ("instances", "storage-pools/p/volumes/custom", "storage-pools/p/buckets"):
        import_path = f"/1.0/{path}?project={project}"
        assert guard.refuses("POST", import_path, io.BytesIO(b"tar"), headers) is not is_ours, path
    assert bool(guard.policy.refusals) is not is_ours


def test_our_project_is_created_changed_and_deleted(guard):
    guard.send("POST", "/1.0/projects", {"name": OURS, "config": CLOSED})
    guard.send("PUT", f"/1.0/projects/{OURS}", {"config": CLOSED})
    guard.send("PATCH", f"/1.0/projects/{OURS}", {"config": {"user.x": "y"}})
    guard.send("DELETE", f"/1.0/projects/{OURS}?force=true")
    assert [verb for verb, _ in guard.wire.sent] == ["POST", "PUT", "PATCH", "DELETE"]
    assert guard.refuses("POST", f"/1.0/projects/{OURS}", {"name": "default"})


@pytest.mark.parametrize("name", ["default", "atlas", "drill-", "Drill-x", "drill-x/../y", None, 7])
def test_a_project_by_another_name_is_not_made(guard, name):
    with pytest.raises(GuardRefused, match="is no drill project by its name"):
        guard.send("POST", "/1.0/projects", {"name": name, "config": CLOSED})


def test_a_project_is_made_by_the_only_name_and_config_of_its_order(guard):
    """Incus 7.0.2 made the second name, and mixed both configs."""
    order = {"name": OURS, "config": CLOSED}
    assert not guard.refuses("POST", "/1.0/projects", order)
    for more in ({"Name": "atlas2"}, {"Config": {"restricted": "false"}}):
        assert guard.refuses("POST", "/1.0/projects", {**order, **more})
    twice = json.dumps(order).replace("{", '{"config": {"restricted": "false"}, ', 1)
    assert guard.refuses("POST", "/1.0/projects", twice.encode())


@pytest.mark.parametrize("project", ["default", "atlas", "drill-unmarked", "drill-other", PREPARED])
def test_a_foreign_or_prepared_project_itself_is_never_changed(guard, project):
    for verb in ("POST", "PUT", "PATCH", "DELETE"):
        assert guard.refuses(verb, f"/1.0/projects/{project}", {"config": CLOSED})


@pytest.mark.parametrize("key", [MARKER_KEY, *REQUIRED])
def test_a_project_never_loses_its_marker_or_a_restriction(guard, key):
    without = {name: value for name, value in CLOSED.items() if name != key}
    for config in ({**CLOSED, key: "false"}, without):
        for verb, path in (("POST", "/1.0/projects"), ("PUT", f"/1.0/projects/{OURS}")):
            with pytest.raises(GuardRefused, match=re.escape(key)):
                guard.send(verb, path, {"name": OURS, "config": config})
    with pytest.raises(GuardRefused, match=re.escape(key)):
        guard.send("PATCH", f"/1.0/projects/{OURS}", {"config": {key: "x"}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("restricted.containers.privilege", "allow"),
        ("restricted.containers.lowlevel", "allow"),
        ("restricted.devices.unix-char", "allow"),
        ("restricted.devices.disk", "allow"),
        ("restricted.devices.disk.paths", "/"),
        ("restricted.devices.nic", "allow"),
        ("restricted.devices.proxy", "allow"),
        ("restricted.networks.access", "incusbr0"),
    ],
)
def test_no_project_is_ever_loosened(guard, monkeypatch, key, value):
    config = {**CLOSED, key: value}
    for verb, path in (
        ("POST", "/1.0/projects"),
        ("PUT", f"/1.0/projects/{OURS}"),
        ("PATCH", f"/1.0/projects/{OURS}"),
    ):
        with pytest.raises(GuardRefused, match=re.escape(key)):
            guard.send(verb, path, {"name": OURS, "config": config})
    monkeypatch.setitem(PROJECTS, PREPARED, {**PROJECTS[PREPARED], key: value})
    assert guard.refuses("PUT", f"/1.0/instances/x/state?project={PREPARED}", {"action": "start"})


def test_a_prepared_project_needs_the_operators_marker_and_every_restriction(guard, monkeypatch):
    start = ("PUT", f"/1.0/instances/x/state?project={PREPARED}", {"action": "start"})
    assert not guard.refuses(*start)
    assert Guarded(DrillPolicy(RUN)).refuses(*start), "of another run"
    prepared = {**REQUIRED, PREPARED_KEY: "true"}
    odd = [{k: v for k, v in prepared.items() if k != key} for key in prepared]
    for config in [*odd, {**prepared, PREPARED_KEY: "yes"}, {**REQUIRED, MARKER_KEY: RUN}]:
        monkeypatch.setitem(PROJECTS, PREPARED, config)
        assert guard.refuses(*start), config


def test_a_dead_runs_project_is_only_removed_and_only_once_adopted(guard):
    scope = "?project=drill-other"
    assert guard.refuses("DELETE", f"/1.0/instances/x{scope}")
    guard.policy.allow_removal("drill-other")
    assert not guard.refuses("PUT", f"/1.0/instances/x/state{scope}", {"action": "stop"})
    assert not guard.refuses("DELETE", f"/1.0/instances/x{scope}")
    assert not guard.refuses("DELETE", "/1.0/projects/drill-other")
    assert guard.refuses("POST", f"/1.0/instances/x/exec{scope}", {"command": ["x"]})
    assert guard.refuses("PATCH", "/1.0/projects/drill-other", {"config": {}})
    guard.policy.allow_removal("drill-unmarked")
    assert guard.refuses("DELETE", "/1.0/projects/drill-unmarked")
    with pytest.raises(GuardRefused, match="is no drill project"):
        guard.policy.allow_removal("default")


@pytest.mark.parametrize("status", [301, 403, 500, 200])
def test_a_project_whose_config_cannot_be_read_is_not_changed(guard, monkeypatch, status):
    answer = requests.Response()
    answer.status_code, answer._content = status, b"nonsense"
    monkeypatch.setattr(guard.wire, "send", lambda *args, **kwargs: answer)
    with pytest.raises(GuardRefused, match="cannot be read"):
        guard.send("DELETE", f"/1.0/instances/x{IN_OURS}")


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
        names = {"server_version": "7.0.2", "server_name": "x"}
        server = {"api_extensions": ["projects"], "config": dict(CLOSED), "environment": names}
        self.answer(server)

    def do_POST(self):
        base = "http+unix://" + quote(self.server.server_address, safe="")
        self.answer({}, f"{base}/1.0/instances/grafana01/exec?project=atlas")

    def log_message(self, *args):
        """Print nothing."""


@pytest.fixture
def server(tmp_path):
    with UnixStreamServer(str(tmp_path / "s"), Server) as running:
        running.seen = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_pylxd_speaks_through_the_guard_and_a_redirect_passes_it_again(server):
    incus = Incus(server.server_address, DrillPolicy(RUN), project="atlas")
    with incus.session:
        with pytest.raises(GuardRefused, match="is no drill project by its name"):
            incus.delete("instances", "grafana01")
        with pytest.raises(requests.exceptions.InvalidSchema):
            incus.session.get("http://127.0.0.1/1.0")
        assert server.seen == [("GET", "/1.0?project=atlas")]
        with pytest.raises(GuardRefused, match="project 'atlas' is no drill project by its name"):
            incus.for_project(OURS).post("instances", "x", "exec", body={"command": ["true"]})
    asked, sent = f"/1.0/projects/{OURS}", f"/1.0/instances/x/exec{IN_OURS}"
    assert server.seen[2:] == [("GET", asked), ("POST", sent)]


@pytest.mark.parametrize("endpoint", ["http://incus:8443", "https://incus:8443", "incus"])
def test_an_endpoint_that_is_not_pinned_is_refused(endpoint):
    with pytest.raises(GuardRefused, match="neither a unix socket nor a pinned https server"):
        guarded_session(endpoint, DrillPolicy("r"))
