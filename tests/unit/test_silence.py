"""A server that does not answer ends as an error that says so, in bounded time."""

from __future__ import annotations

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
from fixtures.incus.guard import DrillPolicy

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
        """Nothing."""


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
    return Incus(server.server_address, DrillPolicy("run"))


def running():
    return 200, {"type": "sync", "metadata": {"status": "Running", "status_code": 103}}


def order(answer):
    class Response:
        content = json.dumps(answer).encode()

    return Response()


STARTED = {"type": "async", "metadata": {"id": "op", "description": "Importing"}}


def test_a_server_that_is_silent_from_the_first_is_told(server):
    server.answers.clear()
    with pytest.raises(IncusError, match="took the connection, but does not answer in time"):
        view(server)


def test_one_that_falls_silent_in_the_middle_is_told(server):
    incus = view(server)
    begun = time.monotonic()
    with pytest.raises(IncusError, match="does not answer in time"):
        incus.exists(incus.api.instances["i"])
    assert time.monotonic() - begun < 5


def test_one_that_falls_silent_during_an_operation_is_told(server):
    looks = iter([running, running])
    server.answers["/1.0/operations/op/wait"] = lambda: next(looks, lambda: None)()
    with (
        pytest.raises(IncusError, match="import: Incus took the connection, but does not answer"),
        client_module.told("import"),
    ):
        view(server).wait(order(STARTED))
    assert server.asked.count("/1.0/operations/op/wait") >= 3


def test_an_operation_that_goes_on_is_waited_for(server):
    done = 200, {"type": "sync", "metadata": {"status_code": 200, "id": "op"}}
    looks = iter([running(), running(), done])
    server.answers["/1.0/operations/op/wait"] = lambda: next(looks)
    assert view(server).wait(order(STARTED))["id"] == "op"


def test_an_operation_has_an_end(server):
    server.answers["/1.0/operations/op/wait"] = running
    with pytest.raises(IncusError, match="Importing: still Running after 0.2 s"):
        view(server).wait(order(STARTED), timeout=0.2)


def test_an_untrusted_client_is_told_what_to_do(server):
    server.answers["/1.0"] = (200, {"type": "sync", "metadata": {**SERVER, "auth": "untrusted"}})
    with pytest.raises(IncusError) as refused:
        view(server)
    assert "does not trust this client's certificate; nothing was read or changed" in str(
        refused.value
    )
    assert "./run certificate" in str(refused.value.hint)


@pytest.mark.parametrize("status", [403, 500])
def test_what_a_certificate_may_not_is_no_other_fault(server, status):
    refused = {"type": "error", "error": "Certificate is restricted"}
    server.answers["/1.0/storage-pools"] = (status, refused)
    incus = view(server)
    with pytest.raises(NotAllowed):
        incus.pools()
    incus.known_pools = ("b", "a")
    assert incus.within("drill-x").pools() == ["a", "b"]


def test_a_setting_that_a_project_forbids_is_another_fault(server):
    refused = {"type": "error", "error": 'Failed: "raw.lxc" is forbidden'}
    server.answers["/1.0/storage-pools"] = (403, refused)
    incus = view(server)
    with pytest.raises(IncusError) as told:
        incus.pools()
    assert not isinstance(told.value, NotAllowed)


def test_s3_that_cannot_be_reached_is_not_looked_at(server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = {buckets.LISTENER: f"127.0.0.1:{port}"}
    told = {**SERVER, "config": config, "environment": {**ABOUT, "certificate": "PEM"}}
    server.answers["/1.0"] = (200, {"type": "sync", "metadata": told})
    with (
        pytest.raises(CouldNotLook, match=rf"S3 at https://127.0.0.1:{port} cannot be reached"),
        buckets.s3_of(view(server)),
    ):
        raise AssertionError("opened")
