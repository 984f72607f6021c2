"""A server that drips, never ends or lies costs a request its budget, and nothing else."""

from __future__ import annotations

import base64
import contextlib
import errno
import gzip
import hashlib
import socket
import ssl
import threading
import time

import pytest
import requests

from fixtures.errors import CouldNotLook, IncusError
from fixtures.incus import bounded, tunnel
from fixtures.incus.client import Incus, told
from fixtures.incus.guard import DrillPolicy
from fixtures.incus.tunnel import open_websocket

HELLO = (
    b'{"type":"sync","metadata":{"auth":"trusted","api_extensions":[],'
    b'"environment":{"server_version":"7.0.2","server_name":"x"}}}'
)
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SECONDS = 0.5
"""The time-out of a request in these tests; each has to end within four times of it."""


def sized(body, *headers):
    return (
        JSON
        + b"".join(h + b"\r\n" for h in headers)
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )


class Hostile:
    """A server on a unix socket: true to `GET /1.0`, and to everything else what `say` does."""

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
                if head.startswith(b"GET /1.0 "):
                    peer.sendall(sized(self.hello))
                else:
                    for part in self.say(head):
                        peer.sendall(part)
                        self.sent += len(part)
                    return

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
    made = []

    def serve(say):
        made.append(Hostile(tmp_path / "s", say))
        return Incus(made[-1].path, DrillPolicy("r")), made[-1]

    yield serve
    for one in made:
        one.close()


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
    "a bomb": lambda _: [sized(gzip.compress(bytes(50_000_000)), b"Content-Encoding: gzip")],
}


@pytest.mark.parametrize("say", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_ends_within_its_budget(served, say):
    incus, server = served(say)
    begun = time.monotonic()
    with pytest.raises(IncusError, match="list the instances"), told("list the instances"):
        incus.api.instances.get(timeout=SECONDS)
    assert time.monotonic() - begun < 4 * SECONDS
    assert server.sent < 8 << 20


def test_a_stream_may_be_longer_than_any_answer(served):
    whole = 5 << 20
    incus, _ = served(lambda _: [JSON, b"Content-Length: %d\r\n\r\n" % whole, b"x" * whole])
    with incus.session.get(incus.url("export"), stream=True, timeout=SECONDS) as answer:
        assert sum(len(part) for part in answer.iter_content(65536)) == whole


def test_a_stream_that_drips_stands_still(served, monkeypatch):
    monkeypatch.setattr(bounded, "FLOW_SECONDS", SECONDS)
    incus, _ = served(ANSWERS["a body that drips"])
    begun = time.monotonic()
    answer = incus.session.get(incus.url("export"), stream=True, timeout=SECONDS)
    with answer, pytest.raises(IncusError, match="does not answer in time"), told("export"):
        list(answer.iter_content(65536))
    assert time.monotonic() - begun < 4 * SECONDS


def test_what_a_slow_reader_takes_is_no_standstill(served, monkeypatch):
    monkeypatch.setattr(bounded, "FLOW_SECONDS", SECONDS)
    body = b"x" * 3000
    incus, _ = served(lambda _: [sized(body)])
    with incus.session.get(incus.url("export"), stream=True, timeout=SECONDS) as answer:
        came = []
        for part in answer.iter_content(1000):
            came.append(part)
            time.sleep(SECONDS)
    assert b"".join(came) == body


def test_the_error_that_a_stream_is_refused_with_is_an_answer(served):
    incus, server = served(without_end(b"HTTP/1.1 500 No\r\n\r\n", LONG))
    answer = incus.session.get(incus.url("export"), stream=True, timeout=SECONDS)
    with answer, pytest.raises(IncusError, match="longer than 1 MiB"), told("export"):
        assert answer.text
    assert server.sent < 8 << 20


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"<html>", b"[" * 100_000, b"{}"])
def test_what_is_no_answer_of_incus_is_one_line(served, body):
    incus, _ = served(lambda _: [sized(body)])
    with pytest.raises((CouldNotLook, IncusError), match="list the pools|list the storage pools"):
        incus.pools()


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
def test_a_server_that_does_not_say_what_it_is_is_no_incus(tmp_path, hello):
    server = Hostile(tmp_path / "s", lambda _: [], hello)
    with pytest.raises((CouldNotLook, IncusError), match="reach Incus at"):
        Incus(server.path, DrillPolicy("r"))
    server.close()


def agreed(head):
    """How a server agrees on a websocket."""
    key = next(
        line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
    )
    both = key.partition(b": ")[2] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(both).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def after_handshake(start, part, pause=0.0):
    return lambda head: without_end(agreed(head) + start, part, pause)(head)


HANDSHAKES = {
    "one without end": without_end(b"HTTP/1.1 101 X\r\n", b"X: y\r\n"),
    "a line without end": without_end(b"HTTP/1.1 101 X\r\nX: ", LONG),
    "one that drips": without_end(b"HTTP/1.1 101 X\r\nX: ", b"x", 0.05),
}
MESSAGES = {
    "one of a terabyte": after_handshake(b"\x82\x7f\0\0\0\xff\xff\xff\xff\xff", LONG),
    "parts without end": after_handshake(b"\x02\x01x", b"\0\x7e\xff\xff" + LONG[:65535]),
    "one that drips": after_handshake(b"\x82\x7f\0\0\0\0\0\1\0\0", b"x", 0.05),
    "pings without end": after_handshake(b"", b"\x89\0", 0.01),
}


@pytest.mark.parametrize("say", HANDSHAKES.values(), ids=HANDSHAKES)
def test_a_websocket_is_agreed_on_within_its_budget(served, say, monkeypatch):
    monkeypatch.setattr(tunnel, "GRACE_SECONDS", SECONDS)
    incus, server = served(say)
    begun = time.monotonic()
    with pytest.raises(IncusError, match="look at events"), told("look at events"):
        open_websocket(incus, "/1.0/events")
    assert time.monotonic() - begun < 4 * SECONDS
    assert server.sent < 8 << 20


def test_a_websocket_is_not_sought_where_the_server_leads(served):
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        place = b"ws://127.0.0.1:%d/" % elsewhere.getsockname()[1]
        head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + place + b"\r\n\r\n"
        incus, _ = served(lambda _: [head])
        with pytest.raises(IncusError, match="look at events"), told("look at events"):
            open_websocket(incus, "/1.0/events")
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.parametrize("say", MESSAGES.values(), ids=MESSAGES)
def test_a_message_of_a_websocket_ends_within_its_budget(served, say):
    incus, server = served(say)
    stream = open_websocket(incus, "/1.0/events")
    stream.settimeout(SECONDS)
    begun = time.monotonic()
    with pytest.raises(IncusError, match="look at events"), told("look at events"):
        stream.recv_data()
    assert time.monotonic() - begun < 4 * SECONDS
    assert server.sent < 8 << 20
    stream.shutdown()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/a/b"), "/a/b: No such"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/a/b"), "/a/b: Is a directory"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), "names cannot be resolved"),
    ],
    ids=str,
)
def test_a_fault_of_this_machine_is_none_of_the_connection(fault, words):
    for raised in (fault, requests.ConnectionError(fault), requests.ConnectionError("x", fault)):
        match = f"export x: on this machine: {words}"
        with pytest.raises(CouldNotLook, match=match), told("export x"):
            raise raised


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionResetError(errno.ECONNRESET, "reset"),
        BrokenPipeError(errno.EPIPE, "pipe"),
        TimeoutError("late"),
        ssl.SSLError(1, "wrong version number"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        FileNotFoundError(errno.ENOENT, "of a socket"),
    ],
    ids=str,
)
def test_a_fault_of_the_connection_is_none_of_this_machine(fault):
    for raised in (fault, requests.ConnectionError(fault)):
        with pytest.raises(IncusError, match="export x: "), told("export x"):
            raise raised
