"""HTTP over dialled connections, against a real server of this process."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fixtures.errors import CouldNotLook, IncusError
from fixtures.services.http import NotTrusted, Way
from fixtures.waiting import NotYet


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = self.path == "/ok"
        body = b"fine" if found else b"not here"
        self.send_response(200 if found else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Nothing is logged."""


class Dialler:
    """Connects to one server, whatever the URL says, and counts."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.dialled = 0

    def __call__(self) -> socket.socket:
        self.dialled += 1
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)


def served(context: ssl.SSLContext | None = None) -> Iterator[Dialler]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    try:
        yield Dialler(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def plain() -> Iterator[Dialler]:
    yield from served()


def self_signed(name: str) -> tuple[bytes, bytes]:
    """PEM of a certificate that is its own root, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    sealed = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), sealed


@pytest.fixture
def trusted(tmp_path: Path) -> Iterator[tuple[Dialler, str]]:
    certificate, key = self_signed("ca.test")
    (tmp_path / "both.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    for dialler in served(context):
        yield dialler, certificate.decode()


def test_a_connection_is_dialled_once_and_kept(plain: Dialler) -> None:
    way = Way(plain, "http://service")
    assert [way.look("/ok") for _ in range(3)] == ["fine"] * 3
    assert plain.dialled == 1
    way.close()


def test_proxies_of_the_environment_are_not_used(
    plain: Dialler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    way = Way(plain, "http://service")
    assert way.look("/ok") == "fine"
    way.close()


def test_another_status_is_not_yet_for_a_look_and_an_error_for_a_must(plain: Dialler) -> None:
    way = Way(plain, "http://service")
    with pytest.raises(NotYet, match=r"^/other: status 503: not here$"):
        way.look("/other")
    with pytest.raises(CouldNotLook, match=r"^GET /other: status 503: not here$"):
        way.must("GET", "/other")
    assert way.must("GET", "/other", statuses=(503,)).text == "not here"
    way.close()


def test_a_port_on_which_nothing_listens_is_told() -> None:
    def dial() -> socket.socket:
        raise ConnectionRefusedError("nothing listens on port 9090 of prometheus01")

    with pytest.raises(NotYet) as caught:
        Way(dial, "http://service").look("/ok")
    assert "nothing listens on port 9090 of prometheus01" in str(caught.value)


def test_a_failure_of_incus_is_not_taken_for_one_of_the_service() -> None:
    def dial() -> socket.socket:
        raise IncusError("the instance went away")

    with pytest.raises(IncusError, match="the instance went away"):
        Way(dial, "http://service").look("/ok")


def test_tls_is_verified_against_the_given_root(trusted: tuple[Dialler, str]) -> None:
    dialler, root = trusted
    way = Way(dialler, "https://ca.test", root)
    assert [way.look("/ok") for _ in range(2)] == ["fine", "fine"]
    assert dialler.dialled == 1
    way.close()


def test_another_root_is_refused_for_good(trusted: tuple[Dialler, str]) -> None:
    dialler, _ = trusted
    way = Way(dialler, "https://ca.test", self_signed("ca.test")[0].decode())
    with pytest.raises(NotTrusted, match="self-signed certificate"):
        way.look("/ok")
    way.close()


def test_another_name_is_refused(trusted: tuple[Dialler, str]) -> None:
    dialler, root = trusted
    way = Way(dialler, "https://other.test", root)
    with pytest.raises(NotTrusted, match="Hostname mismatch"):
        way.look("/ok")
    way.close()


def test_https_without_a_root_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a root"):
        Way(Dialler(1), "https://ca.test")
