"""What a service answers costs its budget of time and bytes, and nothing else."""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.errors import CouldNotLook
from fixtures.incus.buckets import BucketKey, S3Address
from fixtures.secrets import Secret
from fixtures.services import http, mqtt
from fixtures.services.http import Way
from fixtures.services.s3 import S3
from fixtures.services.step_ca import bootstrap
from fixtures.waiting import NotYet
from tests.unit.test_services_http import self_signed

Answer = Callable[[Any], None]
Serve = Callable[..., Callable[[], socket.socket]]
HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers of raw sockets: each connection is answered by a function of the test."""
    over, threads, listeners = threading.Event(), [], []

    def start(answer: Answer, context: ssl.SSLContext | None = None) -> Callable[[], socket.socket]:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def handle(connection: socket.socket) -> None:
            try:
                if context:
                    connection = context.wrap_socket(connection, server_side=True)
                connection.settimeout(20)
                connection.recv(65536)
                answer(connection)
                over.wait(20)
            except OSError:
                return
            finally:
                connection.close()

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=handle, args=(connection,)))
                threads[-1].start()

        threads.append(threading.Thread(target=accept))
        threads[-1].start()
        return lambda: socket.create_connection(listener.getsockname(), 5)

    yield start
    over.set()
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(20)


def drip(first: bytes, piece: bytes, pause: float = 0.05) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        for _ in range(200):
            time.sleep(pause)
            connection.sendall(piece)

    return answer


def flood(first: bytes, piece: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(piece)

    return answer


def say(*parts: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return answer


def body(text: bytes, *headers: bytes) -> Answer:
    lines = [HEAD, *(header + b"\r\n" for header in headers)]
    return say(b"".join(lines) + b"Content-Length: %d\r\n\r\n" % len(text) + text)


DRIPS = {
    "status line": drip(b"", b"H"),
    "headers": drip(HEAD, b"X-A: b\r\n", 0.1),
    "body": drip(HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
    "chunks": drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "to the end of the connection": drip(HEAD + b"\r\n", b"x"),
}


@pytest.mark.parametrize("kind", DRIPS)
def test_a_service_that_drips_costs_its_whole_time(serve: Serve, kind: str) -> None:
    way, begun = Way(serve(DRIPS[kind]), "http://service"), time.monotonic()
    with pytest.raises(CouldNotLook, match=r"^GET /: no answer: .*not whole within 1 s"):
        way.ask("GET", "/", timeout=0.5, whole=1.0)
    assert time.monotonic() - begun < 2
    way.close()


def test_a_look_has_its_two_seconds_in_all(serve: Serve) -> None:
    way, begun = Way(serve(DRIPS["body"]), "http://service"), time.monotonic()
    with pytest.raises(NotYet, match="not whole within 2 s"):
        way.look("/")
    assert time.monotonic() - begun < 3
    way.close()


def test_a_service_that_drips_in_tls_costs_the_same(serve: Serve, tmp_path: Path) -> None:
    certificate, key = self_signed("ca.test")
    (tmp_path / "both.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    dial = serve(DRIPS["body"], context)
    way, begun = Way(dial, "https://ca.test", certificate.decode()), time.monotonic()
    with pytest.raises(CouldNotLook, match="not whole within 1 s"):
        way.ask("GET", "/", timeout=0.5, whole=1.0)
    assert time.monotonic() - begun < 2
    way.close()


FLOODS = {
    "body": flood(HEAD + b"\r\n", b"x" * (1 << 20)),
    "chunks": flood(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    ),
    "an announced length": flood(HEAD + b"Content-Length: 1000000000000\r\n\r\n", b"x" * (1 << 20)),
    "headers": flood(HEAD, b"X-A: " + b"b" * 60000 + b"\r\n"),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_service_that_never_ends_costs_its_bytes(serve: Serve, kind: str) -> None:
    way, begun = Way(serve(FLOODS[kind]), "http://service"), time.monotonic()
    with pytest.raises(CouldNotLook, match=r"longer than 64 MiB|more than 100 headers"):
        way.ask("GET", "/")
    assert time.monotonic() - begun < 10
    way.close()


def test_what_is_packed_is_not_unpacked(serve: Serve) -> None:
    packed = gzip.compress(bytes(300 << 20))
    way = Way(serve(body(packed, b"Content-Encoding: gzip")), "http://service")
    with pytest.raises(CouldNotLook, match=r"packed \(gzip\), which was not asked for"):
        way.ask("GET", "/")
    way.close()


MALFORMED = [
    b"garbage\r\n\r\n",
    b"HTTP/1.1 999999 x\r\n\r\n",
    HEAD + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nxxxxx",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 302 x\r\nLocation: http://[::1/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 x\r\nLocation: gopher://x/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 x\r\nLocation: http://\xff\xfe/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 x\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n",
]


@pytest.mark.parametrize("said", MALFORMED)
def test_what_is_no_http_is_no_answer(serve: Serve, said: bytes) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_RDWR)

    way = Way(serve(answer), "http://service")
    with pytest.raises(CouldNotLook, match=r"^GET /: no answer: "):
        way.ask("GET", "/", timeout=1, whole=2)
    way.close()


@pytest.mark.parametrize(
    "text, told",
    [
        (b"<html>Down for maintenance</html>", "answered no JSON: '<html>Down for maint"),
        (b"", "answered no JSON: nothing"),
        (b"[" * 100000, "answered no JSON: '[[["),
        (b"\xff\xfe", "answered no JSON: "),
        (b"null", r"answered JSON without data.result: 'null'"),
        (b'{"data": []}', "answered JSON without data.result"),
        (b'{"data": {"other": 1}}', "answered JSON without data.result"),
        (b"17", "answered JSON without data.result: '17'"),
    ],
)
def test_a_body_that_is_not_what_was_asked_for_is_told(
    serve: Serve, text: bytes, told: str
) -> None:
    way = Way(serve(body(text)), "http://service")
    with pytest.raises(CouldNotLook) as caught:
        way.must_json("GET", "/api", "data", "result")
    assert caught.value.message.startswith(f"GET /api: {told}")
    assert len(caught.value.message) < 400
    way.close()


def test_a_service_writes_no_line_of_its_own(serve: Serve) -> None:
    said = b"HTTP/1.1 503 x\r\nContent-Length: 40\r\n\r\n" + b"busy\nHINT: rm -rf /\x1b[2J".ljust(
        40
    )
    way = Way(serve(say(said)), "http://service")
    with pytest.raises(CouldNotLook) as caught:
        way.must("GET", "/")
    assert str(caught.value) == "GET /: status 503: busy HINT: rm -rf /\\x1b[2J"
    way.close()


@pytest.mark.parametrize("charset", [b"punycode", b"idna", b"zlib", b"bogus", b"utf-16", b""])
def test_a_long_answer_is_read_in_no_time_whatever_its_charset(
    serve: Serve, charset: bytes
) -> None:
    text = b"\xff\xfe{}" * (1 << 20)
    way = Way(serve(body(text, b"Content-Type: text/html; charset=" + charset)), "http://service")
    begun = time.monotonic()
    with pytest.raises(CouldNotLook, match="answered no JSON"):
        way.must_json("GET", "/")
    assert time.monotonic() - begun < 10
    way.close()


def test_what_is_asked_for_comes_out(serve: Serve) -> None:
    way = Way(serve(body(b'{"data": {"result": [1, {"a": 2}]}}')), "http://service")
    assert way.must_json("GET", "/api", "data", "result", 1, "a") == 2
    way.close()


def s3(dial: Callable[[], socket.socket], monkeypatch: pytest.MonkeyPatch, root: str) -> S3:
    monkeypatch.setattr(S3Address, "dial", lambda _self: dial())
    address = S3Address("ca.test", 1, root)
    return S3(address, "tofu", BucketKey("k", "read-only", "A", Secret("s3-secret-key-value")))


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    certificate, key = self_signed("ca.test")
    (tmp_path / "both.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    return context, certificate.decode()


def test_an_object_that_never_ends_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tls: tuple[ssl.SSLContext, str]
) -> None:
    monkeypatch.setattr(http, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(http, "TIMEOUT_SECONDS", 0.5)
    bucket = s3(serve(DRIPS["body"], tls[0]), monkeypatch, tls[1])
    begun = time.monotonic()
    with pytest.raises(CouldNotLook, match="object a of tofu: cut off: .*"):
        bucket.digest("a")
    assert time.monotonic() - begun < http.ANSWER_SECONDS + 40
    bucket.close()


PAGE = b"<R><IsTruncated>true</IsTruncated><Contents><Key>a</Key><Size>%s</Size></Contents></R>"


@pytest.mark.parametrize(
    "text, told",
    [
        (b"<html>", "answered no XML"),
        (PAGE % b"many", "an object.s size"),
        (PAGE % b"1", "more is promised, and none comes"),
    ],
)
def test_a_list_of_objects_that_is_none_is_told(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    tls: tuple[ssl.SSLContext, str],
    text: bytes,
    told: str,
) -> None:
    bucket = s3(serve(body(text, b"Connection: close"), tls[0]), monkeypatch, tls[1])
    with pytest.raises(CouldNotLook, match=told):
        bucket.objects()
    bucket.close()


def test_a_ca_that_drips_its_root_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tls: tuple[ssl.SSLContext, str]
) -> None:
    monkeypatch.setattr(http, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(http, "TIMEOUT_SECONDS", 0.5)
    begun = time.monotonic()
    with pytest.raises(CouldNotLook, match="not whole within 1 s"):
        bootstrap(serve(DRIPS["headers"], tls[0]), "ca.test", "00")
    assert time.monotonic() - begun < 3


CONNACK = b"\x20\x02\x00\x00"


def publish(topic: bytes, payload: bytes) -> bytes:
    text = struct.pack("!H", len(topic)) + topic + payload
    length, left = b"", len(text)
    while True:
        left, digit = divmod(left, 128)
        length += bytes([digit | (0x80 if left else 0)])
        if not left:
            return b"\x30" + length + text


@pytest.mark.parametrize(
    "said, told",
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the broker|no MQTT came|lost"),
        (CONNACK + publish(b"\xff\xfe", b"x"), "no MQTT came"),
        (CONNACK + b"\x30\x01\x00", "no MQTT came|lost"),
        (b"\x20\xff\xff\xff\xff\xff\xff", "lost|no MQTT"),
    ],
)
def test_what_is_no_mqtt_is_told(serve: Serve, said: bytes, told: str) -> None:
    with pytest.raises(CouldNotLook, match=told), mqtt.connected(serve(say(said))) as client:
        client.fetch("ours", b"1")


def test_a_broker_that_never_ends_costs_its_bytes(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "ROOM", 4 << 20)
    begun = time.monotonic()
    dial = serve(flood(CONNACK, publish(b"a", b"x" * 100000)))
    with (
        pytest.raises(CouldNotLook, match="the broker sends more than 4 MiB"),
        mqtt.connected(dial) as client,
    ):
        client.fetch("ours", b"1")
    assert time.monotonic() - begun < 6


def test_a_broker_that_drips_costs_its_time(serve: Serve) -> None:
    begun = time.monotonic()
    with pytest.raises(CouldNotLook, match="no CONNACK within 1 s"):
        mqtt.Client(serve(drip(b"", b"\x20")), patience=1.0)
    assert time.monotonic() - begun < 2
