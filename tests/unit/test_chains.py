"""Certificates on restored volumes, held against the CA that was restored with them."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fixtures.recovery.checks import Checks
from fixtures.recovery.drill import Drill
from fixtures.recovery.fleet import check_chains
from fixtures.services.certificates import PEM, sign
from fixtures.services.step_ca import StepCa, new_ca


class Restored(StepCa):
    """A CA of which only its authorities are known."""

    def __init__(self, made):
        self.made = made

    def authorities(self):
        return [load(self.made, f"{name}_ca.crt") for name in ("root", "intermediate")]


def load(made, name):
    return x509.load_pem_x509_certificate(made.files[f".step/certs/{name}"][0])


def leaf_of(made):
    """A certificate of a client, issued by this CA."""
    sealed, _ = made.files[".step/secrets/intermediate_ca_key"]
    signer = serialization.load_pem_private_key(sealed, made.password.reveal().encode())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mosquitto01")])
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = load(made, "intermediate_ca.crt").subject
    leaf = sign(name, key, timedelta(days=1), [], issuer, signer)
    return leaf.public_bytes(PEM)


class Volume:
    """An instance with one file of certificates."""

    def __init__(self, pem):
        self.pem = pem

    def must_exec(self, argv, timeout):
        return "/data/tls/server.crt\0" if self.pem else ""

    def pull(self, path):
        return self.pem


@pytest.fixture
def judged():
    ca, other = (new_ca("/home/step", "ca.test") for _ in range(2))

    def judge(pem):
        drill = Drill("fleet", "full-rebuild-with-data", 900, "drill-x", "low")
        spec, subject = SimpleNamespace(name="mosquitto"), SimpleNamespace(data="/data")
        broker = SimpleNamespace(spec=spec, subject=subject, instance=Volume(pem))
        check_chains(Checks(drill), {"ca": SimpleNamespace(subject=Restored(ca)), "b": broker})
        return drill

    return ca, other, judge


def test_a_certificate_of_the_restored_ca_chains_to_it(judged):
    ca, _, judge = judged
    (check,) = judge(leaf_of(ca) + ca.root.encode()).checks
    assert (check.outcome, check.detail) == ("held", "1 of 1 are of this CA")


def test_one_of_a_ca_of_the_same_name_does_not(judged):
    ca, other, judge = judged
    (check,) = judge(leaf_of(ca) + leaf_of(other)).checks
    assert (check.outcome, check.detail) == ("broken", "CN=mosquitto01 of mosquitto")


def test_without_a_certificate_nothing_is_known(judged):
    drill = judged[2](b"")
    assert drill.checks == []
    assert "no volume holds a certificate of it" in drill.not_looked_at[0]
