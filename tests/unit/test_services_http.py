"""HTTP, S3 and MQTT of services: what an answer may cost, what is trusted, and what is an error."""

import gzip
import socket
import time
from contextlib import closing

import pytest

from fixtures.clock import NotYet
from fixtures.errors import CouldNotLook, IncusError
from fixtures.incus.volumes import BucketKey, S3Address
from fixtures.secrets import Secret
from fixtures.services import http, mosquitto
from fixtures.services.http import HttpClient, NotTrusted
from fixtures.services.step_ca import bootstrap
from fixtures.services.terraform_state import S3
from tests.unit.servers import context_of, identity, pages, server

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MOVED = b"HTTP/1.1 302 x\r\nContent-Length: 0\r\nLocation: "
OWN = identity("ca.test")
TLS, ROOT = context_of(OWN), OWN.pem.decode()
MIB = b"x" * (1 << 20)


@pytest.fixture(autouse=True)
def in_time():
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < 20


def say(first, piece=b"", times=0, pause=0.0, *, ends=False):
    """Read a request, answer `first`, and then `piece` again and again."""

    def answer(connection):
        connection.recv(65536)
        connection.sendall(first)
        for _ in range(times):
            time.sleep(pause)
            connection.sendall(piece)
        if ends:
            connection.shutdown(socket.SHUT_RDWR)

    return answer


def drip(first, piece, pause=0.05):
    return say(first, piece, 200, pause)


def flood(first, piece=MIB):
    return say(first, piece, 1000)


def body(text, *headers, status=200):
    lines = b"".join(header + b"\r\n" for header in (*headers, b"Content-Length: %d" % len(text)))
    return say(b"HTTP/1.1 %d x\r\n" % status + lines + b"\r\n" + text)


DRIPPED = drip(HEAD + b"Content-Length: 100000\r\n\r\n", b"x")
SLOW, LONG = "not whole within 1 s", "longer than 64 MiB"


@pytest.mark.parametrize(
    "answer, whole, message",
    [
        (drip(b"", b"H"), 1, SLOW),
        (drip(HEAD, b"X-A: b\r\n", 0.1), 1, SLOW),
        (DRIPPED, 1, SLOW),
        (drip(CHUNKED, b"1\r\nx\r\n"), 1, SLOW),
        (flood(HEAD + b"\r\n"), None, LONG),
        (flood(CHUNKED, b"100000\r\n" + MIB + b"\r\n"), None, LONG),
        (flood(HEAD + b"Content-Length: 1000000000000\r\n\r\n"), None, LONG),
        (flood(HEAD, b"X-A: " + b"b" * 60000 + b"\r\n"), None, f"{LONG}|more than 100 headers"),
        (body(gzip.compress(bytes(30 << 20)), b"Content-Encoding: gzip"), 2, r"packed \(gzip\)"),
        (say(b"garbage\r\n\r\n", ends=True), 2, ""),
        (say(b"HTTP/1.1 999999 x\r\n\r\n", ends=True), 2, ""),
        (say(HEAD + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nxxxxx", ends=True), 2, ""),
        (say(CHUNKED + b"zz\r\n", ends=True), 2, ""),
        (say(MOVED + b"http://[::1/\r\n\r\n"), 2, ""),
        (say(MOVED + b"gopher://x/\r\n\r\n"), 2, ""),
        (say(MOVED + b"http://\xff\xfe/\r\n\r\n"), 2, ""),
        (say(MOVED + b"/again\r\n\r\n", ends=True), 2, ""),
    ],
)
def test_what_is_no_answer_or_never_ends_costs_its_time_or_bytes_alone(answer, whole, message):
    with (
        server(answer) as dial,
        closing(HttpClient(dial, "http://service")) as client,
        pytest.raises(CouldNotLook, match=f"^GET /: no answer: .*({message})"),
    ):
        client.request("GET", "/", timeout=0.5, whole=whole)


def test_a_health_check_has_its_two_seconds_in_all():
    with server(DRIPPED, TLS) as dial, pytest.raises(NotYet, match="not whole within 2 s"):
        HttpClient(dial, "https://ca.test", ROOT).get_text("/")


CHARSETS = (b"punycode", b"zlib", b"bogus", b"utf-16", b"")
"""A guess of requests at the charset of a long answer takes minutes."""


@pytest.mark.parametrize(
    "answer, message",
    [
        (body(b"<html>Down for maintenance</html>"), "no JSON: '<html>Down for maint"),
        (body(b""), "no JSON: nothing"),
        (body(b"[" * 100000), "no JSON: '[[["),
        (body(b"null"), "JSON without data.result: 'null'"),
        (body(b'{"data": []}'), "JSON without data.result"),
        (body(b"17"), "JSON without data.result: '17'"),
        *(
            (body(b"\xff\xfe{}" * (1 << 20), b"Content-Type: a/b; charset=" + name), "no JSON: ")
            for name in CHARSETS
        ),
    ],
)
def test_a_body_that_is_not_what_was_asked_for_is_in_the_message(answer, message):
    with server(answer) as dial, pytest.raises(CouldNotLook) as caught:
        HttpClient(dial, "http://service").get_json("GET", "/api", "data", "result")
    assert caught.value.message.startswith(f"GET /api: answered {message}")
    assert len(caught.value.message) < 400


def test_a_service_writes_no_line_of_its_own():
    answer = body(b"busy\nHINT: rm -rf /\x1b[2J", status=503)
    with server(answer) as dial, pytest.raises(CouldNotLook) as caught:
        HttpClient(dial, "http://service").request_ok("GET", "/")
    assert str(caught.value) == "GET /: status 503: busy HINT: rm -rf /\\x1b[2J"


def test_a_connection_is_kept_verified_and_uses_no_proxy(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    dialled = []
    found = {"/ok": b"fine", "/api": b'{"data": {"result": [1, {"a": 2}]}}'}
    with server(pages(found), TLS) as dial:
        client = HttpClient(lambda: dialled.append(1) or dial(), "https://ca.test", ROOT)
        assert [client.get_text("/ok") for _ in range(3)] == ["fine"] * 3
        assert client.get_json("GET", "/api", "data", "result", 1, "a") == 2
        with pytest.raises(NotYet, match=r"^/other: status 503: not here$"):
            client.get_text("/other")
        assert client.request_ok("GET", "/other", statuses=(503,)).text == "not here"
        assert len(dialled) == 1
        client.close()
        assert (client.get_text("/ok"), len(dialled)) == ("fine", 2)
        client.close()


def test_another_root_or_name_is_refused_for_good():
    with server(pages({"/ok": b"fine"}), TLS) as dial:
        with pytest.raises(NotTrusted, match="self-signed certificate"):
            HttpClient(dial, "https://ca.test", identity("ca.test").pem.decode()).get_text("/ok")
        with pytest.raises(NotTrusted, match="Hostname mismatch"):
            HttpClient(dial, "https://other.test", ROOT).get_text("/ok")
        with pytest.raises(ValueError, match="needs a root"):
            HttpClient(dial, "https://ca.test")


@pytest.mark.parametrize(
    "fault, family",
    [(ConnectionRefusedError("nothing listens"), NotYet), (IncusError("it went away"), IncusError)],
)
def test_a_failure_of_incus_is_not_taken_for_one_of_the_service(fault, family):
    def dial():
        raise fault

    with pytest.raises(family, match=str(fault)):
        HttpClient(dial, "http://service").get_text("/ok")


@pytest.fixture
def bucket(monkeypatch):
    monkeypatch.setattr(http, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(http, "TIMEOUT_SECONDS", 0.5)

    def make(dial):
        monkeypatch.setattr(S3Address, "dial", lambda _self: dial())
        key = BucketKey("k", "read-only", "A", Secret("s3-secret-key-value"))
        return S3(S3Address("ca.test", 1, ROOT), "tofu", key)

    return make


def test_an_object_or_a_root_that_never_ends_is_given_up(bucket):
    with server(DRIPPED, TLS) as dial, pytest.raises(CouldNotLook, match="a of tofu: cut"):
        bucket(dial).read_through("a")
    headers = drip(HEAD, b"X-A: b\r\n", 0.1)
    with server(headers, TLS) as dial, pytest.raises(CouldNotLook, match="whole within"):
        bootstrap(dial, "ca.test", "00")


PAGE = b"<R><IsTruncated>true</IsTruncated><Contents><Key>a</Key><Size>%s</Size></Contents></R>"


@pytest.mark.parametrize(
    "text, message",
    [
        (b"<html>", "answered no XML"),
        (PAGE % b"many", "an object.s size"),
        (PAGE % b"1", "more is promised, and none comes"),
    ],
)
def test_a_list_of_objects_that_is_none_is_an_error(bucket, text, message):
    answer = body(text, b"Connection: close")
    with server(answer, TLS) as dial, pytest.raises(CouldNotLook, match=message):
        bucket(dial).objects()


CONNACK = b"\x20\x02\x00\x00"
LONG_MESSAGE = b"\x30\x83\x80\x06\x00\x01a" + b"x" * 98304


@pytest.mark.parametrize(
    "answer, message",
    [
        (say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "the broker|no MQTT came|lost"),
        (say(CONNACK + b"\x30\x05\x00\x02\xff\xfex"), "no MQTT came"),
        (say(CONNACK + b"\x30\x01\x00"), "no MQTT came|lost"),
        (say(b"\x20\xff\xff\xff\xff\xff\xff"), "lost|no MQTT"),
        (flood(CONNACK, LONG_MESSAGE), "the broker sends more than 4 MiB"),
        (drip(b"", b"\x20"), "no CONNACK within 1 s"),
    ],
)
def test_what_is_no_mqtt_or_never_ends_is_an_error(monkeypatch, answer, message):
    monkeypatch.setattr(mosquitto, "ROOM", 4 << 20)
    with (
        server(answer) as dial,
        pytest.raises(CouldNotLook, match=message),
        mosquitto.connected(dial, patience=1.0) as client,
    ):
        client.fetch("ours", b"1")
