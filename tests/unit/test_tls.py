"""One handshake against a server of OpenSSL's own: who refused, and that the root is why."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fixtures.errors import CouldNotLook
from fixtures.fleet.load import load_fleet
from fixtures.recovery.key_compromise import ClientsUnderDrill, clients_of
from fixtures.secrets import Secret
from fixtures.services.certificates import Issued, fault_of
from fixtures.services.step_ca import new_ca
from fixtures.services.step_ca_attacker import Leak, leak_of
from fixtures.services.tls import shake_hands
from fixtures.waiting import NotYet

NAME = "service01.atlas.internal"
FLEET = Path(__file__).parents[2] / "fleets/atlas.yaml"


class Volume:
    """The files of a CA, as the inside of its instance shows them."""

    def __init__(self, files: dict[str, tuple[bytes, int]]) -> None:
        self.files = files

    def pull(self, path: str) -> bytes:
        return self.files[path.removeprefix("/home/step/")][0]


def made() -> Leak:
    """All keys of a CA that was made a moment ago."""
    ca = new_ca("/home/step", "ca.test")
    return leak_of(Volume(ca.files), "/home/step", ca.root, ca.provisioner)  # type: ignore[arg-type]


OLD, NEW = made(), made()


@pytest.fixture
def serve(tmp_path):
    """Serves connections with a certificate; with `trust`, wants one of its clients too."""
    listeners = []

    def start(identity: Issued, trust: str = "") -> Callable[[], socket.socket]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        file = tmp_path / "server.pem"
        file.write_bytes(identity.pem + identity.key.reveal().encode())
        context.load_cert_chain(file)
        if trust:
            context.load_verify_locations(cadata=trust)
            context.verify_mode = ssl.CERT_REQUIRED
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    with context.wrap_socket(connection, server_side=True) as peer:
                        peer.sendall(b"answer to " + peer.recv(100))
                except OSError:
                    return

        thread = threading.Thread(target=answer)
        thread.start()
        listeners.append(thread)
        return lambda: socket.create_connection(listener.getsockname(), timeout=5)

    yield start
    for one in listeners:
        one.close() if isinstance(one, socket.socket) else one.join(timeout=10)


def test_both_accept(serve):
    server, client = NEW.forge(NAME), NEW.forge("client")
    met = shake_hands(serve(server, NEW.root), NAME, NEW.root, b"hello", client)
    assert (met.refused_by, met.answer) == ("", b"answer to hello")
    assert met.serial == server.leaf.serial_number


def test_a_client_of_the_old_root_refuses_the_new_one(serve):
    met = shake_hands(serve(NEW.forge(NAME)), NAME, OLD.root, b"hello")
    assert (met.refused_by, met.serial) == ("client", None)


def test_a_client_of_the_new_root_refuses_an_old_certificate(serve):
    assert shake_hands(serve(OLD.forge(NAME)), NAME, NEW.root, b"hello").refused_by == "client"


def test_a_server_of_the_new_root_refuses_an_old_certificate(serve):
    met = shake_hands(serve(NEW.forge(NAME), NEW.root), NAME, NEW.root, b"hello", OLD.forge("client"))
    assert met.refused_by == "server"
    assert "unknown ca" in met.why


def test_another_name_is_no_lack_of_trust(serve):
    with pytest.raises(CouldNotLook, match="for no lack of trust"):
        shake_hands(serve(NEW.forge("other.test")), NAME, NEW.root, b"hello")


def test_a_missing_certificate_is_no_refused_one(serve):
    with pytest.raises(CouldNotLook):
        shake_hands(serve(NEW.forge(NAME), NEW.root), NAME, NEW.root, b"hello")


def test_nothing_that_listens_is_not_yet():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(NotYet):
        shake_hands(lambda: socket.create_connection(address), NAME, NEW.root, b"hello")


def test_a_forged_certificate_is_good_for_the_old_root_alone():
    forged = OLD.forge(NAME)
    assert fault_of(forged, OLD.root) == ""
    assert fault_of(forged, NEW.root)


def test_traces_of_two_cas_have_nothing_in_common():
    assert set(OLD.traces) == set(NEW.traces)
    assert not set(OLD.traces.values()) & set(NEW.traces.values())
    assert min(map(len, OLD.traces.values())) >= 32


def test_the_traces_are_those_of_the_keys():
    root = x509.load_pem_x509_certificate(OLD.root.encode()).public_key()
    assert isinstance(root, ec.EllipticCurvePublicKey)
    point = root.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    assert OLD.traces["the public half of the old root_ca_key"] == point[1:]
    scalar = OLD.traces["the old intermediate_ca_key in the clear"]
    assert ec.derive_private_key(int.from_bytes(scalar), ec.SECP256R1()).public_key() == (
        OLD.intermediate.public_key()
    )


def test_a_leak_does_not_print_its_secrets():
    shown = repr(OLD)
    assert "traces" not in shown
    assert OLD.provisioner.reveal() not in shown
    assert isinstance(OLD.provisioner, Secret)


def test_the_clients_are_those_that_depend_on_the_ca():
    fleet = load_fleet(FLEET)
    known, unknown = clients_of(fleet, fleet.service("step-ca"))
    assert [one.name for one in known] == ["prometheus", "mosquitto"]
    assert [one.name for one in unknown] == ["alertmanager"]


def test_a_client_that_is_not_looked_at_is_told():
    fleet = load_fleet(FLEET)
    none = ClientsUnderDrill([], [fleet.service("alertmanager")])
    assert none.not_looked_at == [
        "not looked at: alertmanager, which depends on the CA, as a client of it",
        "no client of the CA was looked at",
    ]
