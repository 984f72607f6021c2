"""A server that does not answer ends as an error that says so, in bounded time."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest

from fixtures.errors import CouldNotLook, IncusError, NotAllowed
from fixtures.incus import buckets
from fixtures.incus import client as client_module
from fixtures.incus.client import Incus
from fixtures.incus.guard import OwnServerPolicy

ABOUT = {"server_version": "7.0.2", "server_name": "x"}
SERVER = {"auth": "trusted", "api_extensions": ["projects"], "config": {}, "environment": ABOUT}


class Server(ThreadingMixIn, UnixStreamServer):
    """Answers as `answers` says; a path without an answer is never answered."""

    daemon_threads = True

    def __init__(self, path):
        self.answers = {"/1.0": (200, {"type": "sync", "metadata": SERVER})}
        self.asked = []
        self.over = threading.Event()
        super().__init__(str(path), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        found = self.server.answers.get(path)
        if callable(found):
            found = found()
        if found is None:
            self.server.over.wait(20)
            self.close_connection = True
            return
        status, content = found
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        """Print nothing."""

    do_POST = do_PUT = do_GET


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(client_module, "WAIT_SECONDS", 1.0)
    made = Server(tmp_path / "s")
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.over.set()
    made.shutdown()
    made.server_close()


def view(server):
    return Incus(server.server_address, OwnServerPolicy(server.server_address), project="drill-x")


def running():
    return 200, {"type": "sync", "metadata": {"status": "Running", "status_code": 103}}


STARTED = 202, {"type": "async", "metadata": {"id": "op", "description": "Importing"}}
SILENT = "Incus took the connection, but does not answer in time"


@pytest.mark.parametrize("path", ["/1.0", "/1.0/instances/i"])
def test_a_server_that_falls_silent_is_named(server, path):
    begun = time.monotonic()
    with pytest.raises(IncusError, match=SILENT):
        if path == "/1.0":
            server.answers.clear()
        view(server).exists("instances", "i")
    assert time.monotonic() - begun < 5


def test_an_operation_is_awaited_and_a_server_that_falls_silent_during_it_is_named(server):
    done = 200, {"type": "sync", "metadata": {"status_code": 200, "id": "op"}}
    server.answers["/1.0/instances"] = STARTED
    answers = iter([running(), running(), done])
    server.answers["/1.0/operations/op/wait"] = lambda: next(answers, None)
    assert view(server).post("instances", body={}, doing="import")["id"] == "op"
    with pytest.raises(IncusError, match=f"import: {SILENT}"):
        view(server).post("instances", body={}, doing="import")
    assert server.asked.count("/1.0/operations/op/wait") == 4


def test_an_operation_has_an_end(server):
    server.answers["/1.0/instances/i/state"] = STARTED
    server.answers["/1.0/operations/op/wait"] = running
    with pytest.raises(IncusError, match="start: Importing: still Running after 0.2 s"):
        view(server).put("instances", "i", "state", body={}, doing="start", timeout=0.2)


def test_an_answer_that_lacks_a_key_is_an_error_that_names_its_path(server):
    shown = {"name": "x", "config": {"size": "1GiB"}}
    server.answers["/1.0/projects/x"] = (200, {"type": "sync", "metadata": shown})
    server.answers["/1.0/instances"] = (200, {"type": "sync", "metadata": [shown]})
    incus = view(server)
    seen, (listed,) = incus.get("projects", "x"), incus.get_list("instances")
    assert seen == shown and seen.get("devices") is None
    for path, read in (
        ("/1.0/projects/x", lambda: seen["devices"]),
        ("/1.0/projects/x", lambda: seen["config"]["pool"]),
        ("/1.0/instances", lambda: listed["devices"]),
    ):
        with pytest.raises(CouldNotLook, match=f"^{path}: the answer is not one of Incus' API"):
            read()


def test_an_untrusted_client_is_named_with_what_to_do(server):
    server.answers["/1.0"] = (200, {"type": "sync", "metadata": {**SERVER, "auth": "untrusted"}})
    with pytest.raises(IncusError, match="does not trust this client's certificate") as refused:
        view(server)
    assert "nothing was read or changed" in refused.value.message
    assert "./run certificate" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("status", "error", "is_permission"),
    [
        (403, "Certificate is restricted", True),
        (500, "Certificate is restricted", True),
        (403, 'Failed: "raw.lxc" is forbidden', False),
    ],
)
def test_lack_of_permission_is_an_error_of_its_own(server, status, error, is_permission):
    server.answers["/1.0/storage-pools"] = (status, {"type": "error", "error": error})
    incus = view(server)
    with pytest.raises(IncusError) as refused:
        incus.pools()
    assert isinstance(refused.value, NotAllowed) is is_permission
    incus.known_pools = ("b", "a")
    if is_permission:
        assert incus.for_project("drill-y").pools() == ["a", "b"]


def test_s3_that_cannot_be_reached_is_an_error_before_the_drill(server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = {buckets.LISTENER: f"127.0.0.1:{port}"}
    metadata = {**SERVER, "config": config, "environment": {**ABOUT, "certificate": "PEM"}}
    server.answers["/1.0"] = (200, {"type": "sync", "metadata": metadata})
    with (
        pytest.raises(CouldNotLook, match=rf"S3 at https://127.0.0.1:{port} cannot be reached"),
        buckets.open_s3(view(server)),
    ):
        raise AssertionError("opened")
