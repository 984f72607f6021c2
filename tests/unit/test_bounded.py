"""A server that drips, never ends, lies or falls silent costs a request its budget alone."""

import base64
import contextlib
import errno
import gzip
import hashlib
import json
import re
import socket
import ssl
import threading
import time

import pytest
import requests

from fixtures.errors import CouldNotLook, IncusError, NotAllowed
from fixtures.incus import bounded, client, guard, tunnel, volumes
from fixtures.incus.client import Incus, translate_errors
from fixtures.incus.guard import DrillPolicy, OwnServerPolicy
from fixtures.incus.tunnel import open_websocket

HELLO = (
    b'{"type":"sync","metadata":{"auth":"trusted","api_extensions":[],'
    b'"environment":{"server_version":"7.0.2","server_name":"x"}}}'
)
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SECONDS = 0.5
"""The time-out of a request in these tests; what has no budget would never end."""


def sized(body, headers=b""):
    return JSON + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Hostile:
    """A server on a unix socket: it answers `GET /1.0` well, and all else as `say` does."""

    def __init__(self, path, say, hello=HELLO):
        self.path, self.say, self.sent, self.hello = str(path), say, 0, hello
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(16)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(
                    target=self._talk, args=(self._listener.accept()[0],), daemon=True
                ).start()

    def _talk(self, peer):
        with peer, contextlib.suppress(OSError):
            while head := peer.recv(65536):
                length = re.search(rb"(?i)content-length: (\d+)", head)
                while length and len(head.partition(b"\r\n\r\n")[2]) < int(length[1]):
                    head += peer.recv(65536)
                is_hello = re.match(rb"GET /1\.0[ ?]", head) and self.hello is not None
                for part in [sized(self.hello)] if is_hello else self.say(head):
                    peer.sendall(part)
                    self.sent += 0 if is_hello else len(part)

    def close(self):
        self._listener.close()


def without_end(start, part, pause=0.0):
    def say(_head):
        yield start
        while True:
            yield part
            time.sleep(pause)

    return say


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "ANSWER_BYTES", 1 << 20)
    monkeypatch.setattr(bounded, "MESSAGE_BYTES", 1 << 20)
    for name in ("REQUEST_SECONDS", "FLOW_SECONDS"):
        monkeypatch.setattr(client, name, SECONDS)
    made = []

    def serve(say, hello=HELLO, policy=DrillPolicy):
        made.append(Hostile(tmp_path / f"s{len(made)}", say, hello))
        return Incus(made[-1].path, policy(made[-1].path)), made[-1]

    yield serve
    for server in made:
        server.close()


@contextlib.contextmanager
def within_budget(server=None):
    """The block ends, on a busy machine too, and has read at most 8 MiB."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < 40 * SECONDS
    assert server is None or server.sent < 8 << 20


LONG = b"x" * 65536
ANSWERS = {
    "a body without end": without_end(JSON + b"\r\n", LONG),
    "a sized body of a terabyte": without_end(JSON + b"Content-Length: 999999999999\r\n\r\n", LONG),
    "chunks without end": without_end(
        JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + LONG + b"\r\n"
    ),
    "one chunk without end": without_end(
        JSON + b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n", LONG
    ),
    "a body that drips": without_end(JSON + b"\r\n", b"x", 0.05),
    "a sized body that drips": without_end(JSON + b"Content-Length: 1000000\r\n\r\n", b"x", 0.05),
    "a chunk that drips": without_end(
        JSON + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n", b"x", 0.05
    ),
    "a head that drips": without_end(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.05),
    "a status line that drips": without_end(b"HTTP/1.1 200 ", b"x", 0.05),
    "interim answers without end": without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
    "a bomb": lambda _: [sized(gzip.compress(bytes(50_000_000)), b"Content-Encoding: gzip\r\n")],
}


@pytest.mark.parametrize("say", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_ends_within_its_budget(served, say):
    incus, server = served(say)
    with within_budget(server), pytest.raises(IncusError, match="list the instances"):
        incus.get_list("instances", doing="list the instances")


def test_a_stream_that_drips_is_ended(served, monkeypatch):
    monkeypatch.setattr(guard, "FLOW_SECONDS", SECONDS)
    incus, _ = served(ANSWERS["a body that drips"])
    with within_budget(), pytest.raises(IncusError, match="export: .*does not answer in time"):
        list(incus.download("export", doing="export"))


def test_a_stream_may_be_longer_than_any_answer_and_its_reader_slow(served, monkeypatch):
    monkeypatch.setattr(guard, "FLOW_SECONDS", SECONDS)
    monkeypatch.setattr(client, "CHUNK", 2 << 20)
    incus, _ = served(lambda _: [sized(b"x" * (5 << 20))])
    received = 0
    for part in incus.download("export", doing="export"):
        received += len(part)
        time.sleep(SECONDS)
    assert received == 5 << 20


def test_the_error_that_a_stream_is_refused_with_is_an_answer(served):
    incus, server = served(without_end(b"HTTP/1.1 500 No\r\n\r\n", LONG))
    with within_budget(server), pytest.raises(IncusError, match="longer than 1 MiB"):
        list(incus.download("export", doing="export"))


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"<html>", b"[" * 100_000, b"{}"])
def test_what_is_no_answer_of_incus_is_one_error(served, body):
    incus, _ = served(lambda _: [sized(body)])
    with pytest.raises((CouldNotLook, IncusError), match="list the storage pools"):
        incus.pools()
    with pytest.raises((CouldNotLook, IncusError), match="read storage pool local"):
        incus.driver("local")


HELLOS = (
    b"[]",
    b"null",
    b'{"type":"sync"}',
    b'{"type":"sync","metadata":[]}',
    b'{"type":"sync","metadata":{"auth":"trusted"}}',
    HELLO.replace(b"server_name", b"x"),
    HELLO.replace(b'"api_extensions":[]', b'"api_extensions":null'),
)


@pytest.mark.parametrize("hello", HELLOS)
def test_a_server_that_does_not_say_what_it_is_is_refused(tmp_path, hello):
    server = Hostile(tmp_path / "s", lambda _: [], hello)
    with pytest.raises((CouldNotLook, IncusError), match="reach Incus at"):
        Incus(server.path, DrillPolicy("r"))
    server.close()


def handshake(head):
    """Return how a server agrees on a websocket."""
    key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)[1]
    both = key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(both).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def after_handshake(start, part, pause=0.0):
    return lambda head: without_end(handshake(head) + start, part, pause)(head)


MESSAGES = {
    "a handshake without end": without_end(b"HTTP/1.1 101 X\r\n", b"X: y\r\n"),
    "a line of it without end": without_end(b"HTTP/1.1 101 X\r\nX: ", LONG),
    "a handshake that drips": without_end(b"HTTP/1.1 101 X\r\nX: ", b"x", 0.05),
    "one of a terabyte": after_handshake(b"\x82\x7f\0\0\0\xff\xff\xff\xff\xff", LONG),
    "parts without end": after_handshake(b"\x02\x01x", b"\0\x7e\xff\xff" + LONG[:65535]),
    "one that drips": after_handshake(b"\x82\x7f\0\0\0\0\0\1\0\0", b"x", 0.05),
    "pings without end": after_handshake(b"", b"\x89\0", 0.01),
}


def test_a_websocket_follows_no_redirect(served):
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        place = b"ws://127.0.0.1:%d/" % elsewhere.getsockname()[1]
        head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + place + b"\r\n\r\n"
        incus, _ = served(lambda _: [head])
        with pytest.raises(IncusError, match="read events"), translate_errors("read events"):
            open_websocket(incus, "/1.0/events")
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.parametrize("say", MESSAGES.values(), ids=MESSAGES)
def test_a_message_of_a_websocket_ends_within_its_budget(served, say, monkeypatch):
    monkeypatch.setattr(tunnel, "GRACE_SECONDS", SECONDS)
    incus, server = served(say)
    refused = pytest.raises(IncusError, match="read events")
    with within_budget(server), refused, translate_errors("read events"):
        stream = open_websocket(incus, "/1.0/events")
        with bounded.closed_on_error(stream.sock):
            stream.recv_data()


LOCAL, FAR = (CouldNotLook, "on this machine: "), (IncusError, "")


@pytest.mark.parametrize(
    ("kind", "fault", "words"),
    [
        (LOCAL, OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (LOCAL, PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b: Permission"),
        (LOCAL, FileNotFoundError(errno.ENOENT, "No such file", "/a/b"), "/a/b: No such"),
        (LOCAL, IsADirectoryError(errno.EISDIR, "Is a directory", "/a/b"), "/a/b: Is a directory"),
        (LOCAL, OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (LOCAL, OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
        (LOCAL, socket.gaierror(socket.EAI_AGAIN, "try again"), "names cannot be resolved"),
        (FAR, ConnectionResetError(errno.ECONNRESET, "reset"), "Incus ended the connection"),
        (FAR, BrokenPipeError(errno.EPIPE, "pipe"), "Incus ended the connection"),
        (FAR, TimeoutError("late"), "Incus took the connection"),
        (FAR, ssl.SSLError(1, "wrong version number"), "connection to Incus failed"),
        (FAR, OSError(errno.EHOSTUNREACH, "No route to host"), "connection to Incus failed"),
        (FAR, FileNotFoundError(errno.ENOENT, "of a socket"), "nothing listens there"),
    ],
    ids=str,
)
def test_a_fault_of_this_machine_or_of_the_connection_is_named_as_such(kind, fault, words):
    error, where = kind
    for raised in (fault, requests.ConnectionError(fault), requests.ConnectionError("x", fault)):
        match = f"export x: {where}{words}"
        with pytest.raises(error, match=match), translate_errors("export x"):
            raise raised


def answers(**found):
    """Answer requests by the last part of their path: (status, JSON), or silence."""

    def say(head):
        name = head.split()[1].decode().partition("?")[0].rpartition("/")[2]
        answer = found.get(name)
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else None
        if answer is None:
            time.sleep(4 * SECONDS)
            return []
        status, content = answer
        text = json.dumps({"type": "sync", **content}).encode()
        return [b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (status, len(text)) + text]

    return say


def hello_with(**metadata):
    seen = json.loads(HELLO)
    return json.dumps({**seen, "metadata": {**seen["metadata"], **metadata}}).encode()


RUNNING = 200, {"metadata": {"status": "Running", "status_code": 103}}
DONE = 200, {"metadata": {"status_code": 200, "id": "op"}}
STARTED = 202, {"type": "async", "metadata": {"id": "op", "description": "Importing"}}
SILENT = "Incus took the connection, but does not answer in time"


def test_a_server_that_falls_silent_is_named(served):
    with within_budget(), pytest.raises(IncusError, match=SILENT):
        served(answers(), hello=None)
    incus, _ = served(answers())
    with within_budget(), pytest.raises(IncusError, match=SILENT):
        incus.exists("instances", "i")


def test_of_a_silent_server_one_request_waits_and_the_others_do_not(served, monkeypatch):
    """Four drills took more than 9 minutes to say that Incus does not answer: 30 s each request."""
    asked = []

    def say(head):
        asked.append(head.split(b" ")[1])
        time.sleep(4 * SECONDS)
        yield b""

    incus, server = served(say)
    monkeypatch.setattr(guard, "PROBE_SECONDS", 0.1)

    def all_fail(number):
        for _ in range(number):
            with pytest.raises(IncusError, match="does not answer in time"):
                incus.get("instances")

    all_fail(2)
    assert asked == [b"/1.0/instances"] * 2, "as it answers other requests, each is made"
    server.hello = None
    all_fail(3)
    assert asked[2:] == [b"/1.0"]
    server.hello, server.say = HELLO, lambda _: [sized(b'{"type":"sync","metadata":{"a":"b"}}')]
    monkeypatch.setitem(guard.GuardAdapter._silent, next(iter(incus.session.adapters)), 0.0)
    assert incus.get("instances") == {"a": "b"}


def test_an_operation_is_awaited_has_an_end_and_may_fall_silent(served, monkeypatch):
    monkeypatch.setattr(client, "WAIT_SECONDS", SECONDS)
    say = answers(instances=STARTED, wait=[RUNNING, RUNNING, DONE])
    incus, _ = served(say, policy=OwnServerPolicy)
    assert incus.post("instances", body={}, doing="import")["id"] == "op"
    incus, _ = served(answers(state=STARTED, wait=RUNNING), policy=OwnServerPolicy)
    with pytest.raises(IncusError, match="start: Importing: still Running after 0.01 s"):
        incus.put("instances", "i", "state", body={}, doing="start", timeout=0.01)
    incus, _ = served(answers(instances=STARTED), policy=OwnServerPolicy)
    with pytest.raises(IncusError, match=f"import: {SILENT}"):
        incus.post("instances", body={}, doing="import")


def test_an_answer_that_lacks_a_key_is_an_error_that_names_its_path(served):
    shown = {"name": "x", "config": {"size": "1GiB"}}
    say = answers(x=(200, {"metadata": shown}), instances=(200, {"metadata": [shown]}))
    incus, _ = served(say)
    seen, (listed,) = incus.get("projects", "x"), incus.get_list("instances")
    assert seen == shown and seen.get("devices") is None
    for path, read in (
        ("/1.0/projects/x", lambda: seen["devices"]),
        ("/1.0/projects/x", lambda: seen["config"]["pool"]),
        ("/1.0/instances", lambda: listed["devices"]),
    ):
        with pytest.raises(CouldNotLook, match=f"^{path}: the answer is not one of Incus' API"):
            read()


@pytest.mark.parametrize("body", [b"null", b'["a"]', b'"x"', b"\xff", b"[" * 100_000, b""])
def test_a_refusal_that_is_none_of_incus_is_an_error_all_the_same(served, body):
    incus, _ = served(lambda _: [sized(body).replace(b"200 OK", b"502 x")])
    with pytest.raises(IncusError, match="^read projects/x: .") as told:
        incus.get("projects", "x")
    assert len(told.value.message) < 1100


def test_an_untrusted_client_is_named_with_what_to_do(served):
    with pytest.raises(IncusError, match="does not trust this client's certificate") as refused:
        served(answers(), hello=hello_with(auth="untrusted"))
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
def test_lack_of_permission_is_an_error_of_its_own(served, status, error, is_permission):
    say = answers(**{"storage-pools": (status, {"type": "error", "error": error})})
    incus, _ = served(say, hello=hello_with(api_extensions=["projects"]))
    with pytest.raises(IncusError) as refused:
        incus.pools()
    assert isinstance(refused.value, NotAllowed) is is_permission
    incus.known_pools = ("b", "a")
    if is_permission:
        assert incus.for_project("drill-y").pools() == ["a", "b"]


def test_s3_that_cannot_be_reached_is_an_error_before_the_drill(served):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    about = {"server_version": "7.0.2", "server_name": "x", "certificate": "PEM"}
    config = {volumes.LISTENER: f"127.0.0.1:{port}"}
    incus, _ = served(answers(), hello=hello_with(config=config, environment=about))
    with (
        pytest.raises(CouldNotLook, match=rf"S3 at https://127.0.0.1:{port} cannot be reached"),
        volumes.open_s3(incus),
    ):
        raise AssertionError("opened")
