"""What a command sends through the doorway: refused as the guard refuses, or passed whole."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest

from fixtures.incus.client import Incus
from fixtures.incus.doorway import doorway
from fixtures.incus.guard import DrillPolicy
from tests.guard.wire import CLOSED, OURS, RUN

SCOPE = f"?project={OURS}"
INSTANCES = f"/1.0/instances{SCOPE}"
FILES = f"/1.0/instances/x/files{SCOPE}&path=/x"
DELETE_SOURCE = b"DELETE /1.0/instances/grafana01?project=atlas HTTP/1.1\r\nHost: i\r\n\r\n"
OCTETS = "Content-Type: application/octet-stream\r\n"


class Server(BaseHTTPRequestHandler):
    """An Incus that does all it is told, and remembers it with body and headers."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size + 2)[:-2]
            self.rfile.readline()
        self.server.seen.append((self.command, self.path, body, dict(self.headers)))
        config = {"api_extensions": ["projects"], "config": dict(CLOSED)}
        config["environment"] = {"server_version": "7.0.2", "server_name": "x"}
        text = json.dumps({"type": "sync", "metadata": config}).encode()
        self.send_response(200)
        self.send_header("ETag", "tag")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, *args):
        """Say nothing."""


class Threaded(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def server(tmp_path):
    with Threaded(str(tmp_path / "s"), Server) as running:
        running.seen = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def door(server):
    incus = Incus(server.server_address, DrillPolicy(RUN), project=OURS)
    with incus.session, doorway(incus) as opened:
        yield opened


@pytest.fixture
def seen(server, door):
    """What has reached Incus, but for the guard's own questions."""

    def listed():
        own = ("/1.0/projects/", f"/1.0?project={OURS}")
        return [request for request in server.seen if not request[1].startswith(own)]

    return listed


def ask(door, raw, end=True):
    """Write raw bytes; returns all that comes back until the doorway closes."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(door.path))
        client.sendall(raw)
        if end:
            client.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while data := client.recv(65536):
                answer += data
        except ConnectionResetError:
            return answer
        return answer


def request(verb, target, body=b"", headers=""):
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{verb} {target} HTTP/1.1\r\nHost: i\r\n{headers}{length}\r\n".encode() + body


def statuses(answer):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]


def error_of(answer):
    return json.loads(answer.rsplit(b"\r\n\r\n", 1)[1])


@pytest.mark.parametrize(
    ("verb", "target", "body"),
    [
        ("POST", "/1.0/instances", {"name": "x"}),
        ("DELETE", "/1.0/instances/grafana01?project=atlas", None),
        ("PUT", "/1.0/instances/grafana01/state?project=default", {"action": "stop"}),
        ("POST", "/1.0/instances/x/exec?project=atlas", {"command": ["true"]}),
        ("DELETE", f"/1.0/instances/x{SCOPE}&project=atlas", None),
        ("DELETE", f"/1.0/instances/x?project=atlas&project={OURS}", None),
        ("DELETE", f"/1.0/instances/x?p%72oject={OURS}", None),
        ("DELETE", "/1.0/instances/x?project=drill-other", None),
        ("DELETE", f"/1.0/instances/../instances/x{SCOPE}", None),
        ("POST", f"/1.0/images{SCOPE}", {"name": "x"}),
        ("PUT", f"/1.0{SCOPE}", {"config": {}}),
        ("POST", f"/1.0/networks{SCOPE}", {"name": "x"}),
        ("POST", f"/1.0/instances/x{SCOPE}", {"name": "y", "project": "atlas"}),
        ("POST", INSTANCES, {"name": "x", "devices": {"e": {"type": "nic"}}}),
        ("POST", INSTANCES, {"name": "x", "config": {"raw.lxc": "x"}}),
        ("POST", INSTANCES, {"name": "x", "Project": "atlas"}),
        ("POST", "/1.0/projects", {"name": OURS + "-2", "config": CLOSED}),
        ("POST", f"/1.0/projects{SCOPE}", {"name": OURS + "-2", "config": CLOSED}),
        ("DELETE", f"/1.0/projects/{OURS}{SCOPE}", None),
        ("PATCH", f"/1.0/projects/{OURS}{SCOPE}", {"config": {"restricted": "false"}}),
        ("GET", "/1.0/instances/grafana01/sftp?project=atlas", None),
        ("GET", "/internal/debug/gc", None),
        ("DELETE", f"//[i/1.0/projects/{OURS}{SCOPE}", None),
        ("POST", f"//i/1.0/projects{SCOPE}", {"name": OURS + "-2", "config": CLOSED}),
        ("GET", "/1.0/operations/x/websocket?secret=s", None),
    ],
)
def test_what_the_guard_refuses_is_answered_403_as_incus_would(door, seen, verb, target, body):
    raw = request(verb, target, json.dumps(body).encode() if body else b"")
    answer = ask(door, raw)
    told = error_of(answer)
    assert statuses(answer) == [403]
    assert told["type"] == "error" and told["error_code"] == 403
    assert "nothing was sent" in told["error"]
    assert door.refused == [told["error"]]
    assert seen() == []


def test_another_project_of_the_same_run_is_not_the_commands(door, seen):
    answer = ask(door, request("DELETE", "/1.0/instances/x?project=drill-main-2"))
    assert f"it is not for project '{OURS}'" in error_of(answer)["error"]
    assert seen() == []


@pytest.mark.parametrize(
    "raw",
    [
        b"DELETE http://i/1.0/instances/x HTTP/1.1\r\nHost: i\r\n\r\n",
        b"GET //1.0 HTTP/1.0\r\n\r\n",
        b"GET /1.0\r\n",
        b"GET /1.0 HTTP/1.1\nHost: i\n\n",
        b"GET  /1.0 HTTP/1.1\r\n\r\n",
        b"GET /1.0\x0b/x HTTP/1.1\r\n\r\n",
        b"GET /1.0 HTTP/1.1\r\nA: b\r\n folded: c\r\n\r\n",
        b"GET /1.0 HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET /1.0 HTTP/1.1\r\nA: b\rX-Incus-name: c\r\n\r\n",
        b"GET /1.0 HTTP/1.1\r\nX_Incus_name: c\r\n\r\n",
        b"GET /1.0 HTTP/1.1\r\nIf-Match: a\r\nif-match: b\r\n\r\n",
        b"GET /1.0 HTTP/1.1\r\nHost: i\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(70)),
        b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n",
        request("GET", "/1.0", DELETE_SOURCE),
        request("POST", FILES, DELETE_SOURCE, OCTETS + "Transfer-Encoding: chunked\r\n"),
        request("POST", FILES, b"", OCTETS + "Content-Length: 0\r\nContent-Length: 3\r\n"),
        request("POST", FILES, b"", OCTETS + "Content-Length: +3\r\n") + b"abc",
        request("POST", FILES, b"", OCTETS + "Content-Length: 0x3\r\n") + b"abc",
        request("POST", FILES, b"", OCTETS + "Content-Length: 3, 3\r\n") + b"abc",
        request("POST", FILES, b"", OCTETS + "Transfer-Encoding: identity\r\n") + b"abc",
        request("POST", FILES, b"", OCTETS + "Transfer-Encoding: xchunked\r\n") + b"0\r\n\r\n",
    ],
)
def test_what_has_two_readings_is_refused_and_nothing_behind_it_is_read(door, seen, raw):
    answer = ask(door, raw + DELETE_SOURCE)
    assert statuses(answer) == [400]
    assert seen() == []


@pytest.mark.parametrize(
    "body",
    [
        b"3;x=y\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"3\nabc\n0\n\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc\r\n0\r\nX-Incus-name: y\r\n\r\n",
        b"3\r\nab",
    ],
)
def test_a_chunk_with_two_readings_never_ends_a_request(door, seen, body):
    raw = request("POST", INSTANCES, b"", "Transfer-Encoding: chunked\r\n")
    assert statuses(ask(door, raw + body + DELETE_SOURCE)) == []
    assert seen() == []


def test_an_upload_that_is_cut_is_not_completed(door, seen):
    ask(door, request("POST", FILES, b"", OCTETS + "Content-Length: 9\r\n") + b"abc")
    ask(door, request("POST", FILES, b"", OCTETS + "Transfer-Encoding: chunked\r\n") + b"3\r\nabc")
    assert [body for _, _, body, _ in seen() if len(body) == 9] == []
    assert all(verb != "DELETE" for verb, *_ in seen())


def test_a_pipelined_second_request_is_judged_too(door, seen):
    first = request("GET", "/1.0/instances?project=atlas")
    answer = ask(door, first + DELETE_SOURCE + first)
    assert statuses(answer) == [200, 403, 200]
    assert [verb for verb, *_ in seen()] == ["GET", "GET"]


def test_a_refused_upload_hides_no_request_in_its_body(door, seen):
    body = DELETE_SOURCE * 3
    raw = request("POST", "/1.0/instances/x/files?project=atlas&path=/x", body, OCTETS)
    answer = ask(door, raw + request("GET", "/1.0/instances"))
    assert statuses(answer) == [403, 200]
    assert [path for _, path, *_ in seen()] == ["/1.0/instances"]


@pytest.mark.parametrize(
    "header",
    ["X-Incus-project: atlas", "X-Incus-devices: e,type=nic", "X-HTTP-Method-Override: DELETE"],
)
def test_a_header_that_changes_what_is_asked_is_refused(door, seen, header):
    answer = ask(door, request("POST", INSTANCES, b"tar", f"{OCTETS}{header}\r\n"))
    assert statuses(answer) == [403]
    assert seen() == []


def test_nothing_but_known_headers_reaches_incus(door, seen):
    headers = "User-Agent: incus-cluster-notifier\r\nX-Forwarded-For: x\r\nIf-Match: tag\r\n"
    assert statuses(ask(door, request("GET", "/1.0/instances", b"", headers))) == [200]
    ((_, _, _, passed),) = seen()
    assert {name.lower() for name in passed} == {
        "host",
        "user-agent",
        "accept-encoding",
        "if-match",
    }
    assert "cluster" not in passed["User-Agent"]


@pytest.mark.parametrize(
    "target",
    ["/1.0/operations/x/websocket?secret=s", "/1.0/instances/x/exec", "/1.0/instances/x/sftp"],
)
def test_another_protocol_is_answered_501(door, seen, target):
    for headers in ("Connection: Upgrade\r\nUpgrade: websocket\r\n", "Upgrade: sftp\r\n"):
        answer = ask(door, request("GET", target + SCOPE, b"", headers) + DELETE_SOURCE)
        assert statuses(answer) == [501]
        assert "websocket" in error_of(answer)["error"]
    assert seen() == []


@pytest.mark.parametrize("verb", ["OPTIONS", "TRACE", "CONNECT", "PRI"])
def test_another_verb_is_answered_405(door, seen, verb):
    assert statuses(ask(door, request(verb, "/1.0"))) == [405]
    assert seen() == []


def test_bodies_pass_whole_in_both_ways(door, seen):
    data = bytes(range(256)) * 2000
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (data[:9], data[9:]))
    sent = (
        request("POST", FILES, data, OCTETS + "X-Incus-type: file\r\nExpect: 100-continue\r\n")
        + request("POST", FILES, b"", OCTETS + "Transfer-Encoding: chunked\r\n")
        + chunks
        + b"0\r\n\r\n"
        + request("POST", INSTANCES, b'{"name": "x"}')
        + request("HEAD", "/1.0/instances")
        + request("DELETE", f"/1.0/instances/x{SCOPE}", b"", "Connection: close\r\n")
        + DELETE_SOURCE
    )
    answer = ask(door, sent, end=False)
    assert statuses(answer) == [100, 200, 200, 200, 200, 200]
    assert answer.count(b"ETag: tag") == 5
    assert [(verb, body) for verb, _, body, _ in seen()] == [
        ("POST", data),
        ("POST", data),
        ("POST", b'{"name": "x"}'),
        ("HEAD", b""),
        ("DELETE", b""),
    ]
    assert door.refused == []


def test_a_body_of_json_has_an_end(door, seen):
    big = request("POST", INSTANCES, b"", f"Content-Length: {1 << 30}\r\n") + b" " * (
        (16 << 20) + 1
    )
    assert statuses(ask(door, big)) == [413]
    assert seen() == []


def test_many_may_knock_at_once(door):
    with contextlib.ExitStack() as held:
        for _ in range(60):
            client = held.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(10)
            client.connect(str(door.path))
        client.sendall(request("HEAD", "/1.0"))
        assert statuses(client.recv(65536)) == [200]


def test_an_answer_that_is_cut_is_not_completed(door, server, monkeypatch, capfd):
    def cut(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        handler.close_connection = True

    monkeypatch.setattr(Server, "do_GET", cut)
    answer = ask(door, request("GET", "/1.0/instances") + request("GET", "/1.0/instances"))
    assert statuses(answer) == [200] and b"Content-Length: 9" in answer
    assert answer.endswith(b"\r\n\r\nabc")
    assert capfd.readouterr().err == ""


def test_a_closed_doorway_leads_nowhere(server):
    incus = Incus(server.server_address, DrillPolicy(RUN), project=OURS)
    with incus.session, socket.socket(socket.AF_UNIX) as client:
        with doorway(incus) as opened:
            client.settimeout(10)
            client.connect(str(opened.path))
            client.sendall(request("HEAD", "/1.0"))
            assert statuses(client.recv(65536)) == [200]
            assert opened.path.parent.stat().st_mode & 0o777 == 0o700
        assert client.recv(1) == b""
        assert not opened.path.parent.exists()


def test_an_incus_that_went_away_is_answered_502(door, server):
    server.server_close()
    door.incus.session.close()
    answer = ask(door, request("GET", "/1.0/instances"))
    assert statuses(answer) == [502]
    assert "cannot reach Incus" in error_of(answer)["error"]
