"""Handshakes with a server of OpenSSL's own: who refused, and that the root is why."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from fixtures.clock import NotYet
from fixtures.errors import CouldNotLook
from fixtures.fleet.load import load_fleet
from fixtures.recovery.key_compromise import ClientsUnderDrill, clients_of, steal_keys
from fixtures.services.certificates import Handshake, fault_of, shake_hands
from fixtures.services.step_ca import new_ca
from tests.unit.servers import context_of, server

NAME = "service01.atlas.internal"
FLEET = Path(__file__).parents[2] / "fleets/atlas.yaml"


class Volume:
    """The files of a CA, as its instance shows them."""

    def __init__(self, files):
        self.files = files

    def pull(self, path):
        return self.files[path.removeprefix("/home/step/")][0]


def leaked_ca():
    """Return all keys of a new CA."""
    ca = new_ca("/home/step", "ca.test")
    return steal_keys(Volume(ca.files), "/home/step", ca.root, ca.provisioner)


OLD, NEW = leaked_ca(), leaked_ca()


def meet(own, root, client=None, trust=""):
    """Shake hands with a server that has `own`, and wants a certificate of `trust`."""

    def answer(connection):
        connection.sendall(b"answer to " + connection.recv(100))

    with server(answer, context_of(own, trust)) as dial:
        return shake_hands(dial, NAME, root, b"hello", client)


@pytest.mark.parametrize(
    ("own", "root", "client", "trust", "refused_by"),
    [
        (NEW.forge(NAME), OLD.root, None, "", "client"),
        (OLD.forge(NAME), NEW.root, None, "", "client"),
        (NEW.forge(NAME), NEW.root, OLD.forge("client"), NEW.root, "server"),
    ],
    ids=["old root", "old certificate of the server", "old certificate of the client"],
)
def test_a_certificate_of_the_other_ca_alone_is_refused(own, root, client, trust, refused_by):
    new = NEW.forge(NAME)
    done = meet(new, NEW.root, NEW.forge("client"), NEW.root)
    assert done == Handshake("", "", new.leaf.serial_number, b"answer to hello")
    done = meet(own, root, client, trust)
    assert (done.refused_by, done.serial) == (refused_by, None)
    assert "unable to get local issuer" in done.why or "unknown ca" in done.why


def test_another_fault_is_no_refusal():
    with pytest.raises(CouldNotLook, match="for no lack of trust"):
        meet(NEW.forge("other.test"), NEW.root)
    with pytest.raises(CouldNotLook):
        meet(NEW.forge(NAME), NEW.root, trust=NEW.root)
    with server(None) as dial:
        pass
    with pytest.raises(NotYet):
        shake_hands(dial, NAME, NEW.root, b"hello")
    forged = OLD.forge(NAME)
    assert fault_of(forged, OLD.root) == ""
    assert fault_of(forged, NEW.root)


def test_the_traces_are_those_of_the_keys_and_do_not_print_themselves():
    assert set(OLD.traces) == set(NEW.traces)
    assert not set(OLD.traces.values()) & set(NEW.traces.values())
    assert min(map(len, OLD.traces.values())) >= 32
    public = x509.load_pem_x509_certificate(OLD.root.encode()).public_key().public_numbers()
    point = public.x.to_bytes(32) + public.y.to_bytes(32)
    assert OLD.traces["the public half of the old root_ca_key"] == point
    scalar = int.from_bytes(OLD.traces["the old intermediate_ca_key in the clear"])
    key = ec.derive_private_key(scalar, ec.SECP256R1())
    assert key.public_key() == OLD.intermediate.public_key()
    assert "traces" not in repr(OLD) and OLD.provisioner.reveal() not in repr(OLD)


def test_clients_of_the_ca_are_the_services_that_depend_on_it():
    fleet = load_fleet(FLEET)
    known, unknown = clients_of(fleet, fleet.service("step-ca"))
    assert [service.name for service in known] == ["prometheus", "mosquitto"]
    assert [service.name for service in unknown] == ["alertmanager"]
    assert ClientsUnderDrill([], unknown).not_looked_at == [
        "not looked at: alertmanager, which depends on the CA, as a client of it",
        "no client of the CA was looked at",
    ]
