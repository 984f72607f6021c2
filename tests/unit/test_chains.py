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

CA, OTHER = (new_ca("/home/step", "ca.test") for _ in range(2))


class Restored(StepCa):
    """A CA of which only its authorities are known."""

    def __init__(self):
        pass

    def authorities(self):
        return [load(CA, f"{name}_ca.crt") for name in ("root", "intermediate")]


def load(made, name):
    return x509.load_pem_x509_certificate(made.files[f".step/certs/{name}"][0])


def leaf_of(made):
    """A certificate of a client, issued by this CA."""
    sealed, _ = made.files[".step/secrets/intermediate_ca_key"]
    password, _ = made.files[".step/secrets/password"]
    signer = serialization.load_pem_private_key(sealed, password.strip())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mosquitto01")])
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = load(made, "intermediate_ca.crt").subject
    return sign(name, key, timedelta(days=1), [], issuer, signer).public_bytes(PEM)


@pytest.mark.parametrize(
    ("pem", "seen"),
    [
        (leaf_of(CA) + CA.root.encode(), [("held", "1 of 1 are of this CA")]),
        (leaf_of(CA) + leaf_of(OTHER), [("broken", "CN=mosquitto01 of mosquitto")]),
        (b"", []),
    ],
    ids=["of this CA", "of another CA of the same name", "none"],
)
def test_a_certificate_on_a_restored_volume_has_to_be_of_the_restored_ca(pem, seen):
    drill = Drill("fleet", "full-rebuild-with-data", 900, "drill-x", "low")
    volume = SimpleNamespace(must_exec=lambda *_, **__: "file\0" if pem else "", pull=lambda _: pem)
    spec, subject = SimpleNamespace(name="mosquitto"), SimpleNamespace(data="/data")
    broker = SimpleNamespace(spec=spec, subject=subject, instance=volume)
    check_chains(Checks(drill), {"ca": SimpleNamespace(subject=Restored()), "b": broker})
    assert [(check.outcome, check.detail) for check in drill.checks] == seen
    unseen = any("no volume holds a certificate of it" in text for text in drill.not_looked_at)
    assert unseen is (not seen)
