"""step-ca's one-time tokens and the judgement of its certificates, without a CA."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwcrypto import jwk, jwt

from fixtures.errors import CouldNotLook
from fixtures.secrets import Secret
from fixtures.services import step_ca
from fixtures.services.base import Canary
from fixtures.services.step_ca import Issued, StepCa

NAME = "a.test"
USED_TOKEN = Canary("g1 token 1", step_ca.USED, datetime.now(UTC), key=NAME)


@pytest.fixture
def made() -> step_ca.NewCA:
    return step_ca.new_ca("/home/step", "ca.test")


@pytest.fixture
def ca(made: step_ca.NewCA) -> StepCa:
    service = StepCa(None, None)  # type: ignore[arg-type]
    service.trusted_root, service.provisioner = made.root, made.provisioner
    kid = jwk.JWK.from_json(made.provisioner.reveal()).thumbprint()
    service._provisioners = lambda: [{"key": {"kid": kid}}, {"type": "ACME"}]  # type: ignore[method-assign]
    return service


def issued_by(made: step_ca.NewCA, name: str = NAME) -> Issued:
    """A certificate as the intermediate of this CA would issue it."""
    password = made.password.reveal().encode()
    signer = serialization.load_pem_private_key(
        made.files[".step/secrets/intermediate_ca_key"][0], password
    )
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(made.files[".step/certs/intermediate_ca.crt"][0])
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    now = datetime.now(UTC)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    return Issued(leaf, (issuer,), name, Secret(""))


def test_a_token_can_outlive_a_restart(ca: StepCa, made: step_ca.NewCA) -> None:
    key = jwk.JWK.from_json(made.provisioner.reveal())
    token = jwt.JWT(jwt=ca._token(NAME).reveal(), key=key, algs=["ES256"])
    claims = json.loads(token.claims)
    # With `iat`, step-ca would refuse it after a restart for another reason than its use.
    assert "iat" not in claims
    assert claims["exp"] > time.time() + 3600
    assert json.loads(token.header)["kid"] == key.thumbprint()


def test_no_two_tokens_are_the_same_and_none_prints_itself(ca: StepCa) -> None:
    first, second = ca._token(NAME), ca._token(NAME)
    assert first.reveal() != second.reveal()
    assert first.reveal() not in f"{first} {first!r}"


def test_a_certificate_of_this_ca_chains_to_its_root(ca: StepCa, made: step_ca.NewCA) -> None:
    assert ca._verified("it verifies", issued_by(made)).held is True


def test_a_certificate_of_another_ca_does_not(ca: StepCa) -> None:
    other = step_ca.new_ca("/home/step", "ca.test")
    proof = ca._verified("it verifies", issued_by(other))
    assert proof.held is False
    assert "candidates exhausted" in proof.detail


def refusing(subjects: Callable[[str], bool]) -> Callable[..., Issued | None]:
    def sign(subject: str, _token: Secret) -> Any:
        return None if subjects(subject) else object()

    return sign


def test_a_used_token_is_found_when_only_it_is_refused(
    ca: StepCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca._tokens[USED_TOKEN.id] = ca._token(NAME)
    monkeypatch.setattr(ca, "_sign", refusing(lambda subject: subject == NAME))
    assert ca.read_canaries([USED_TOKEN]) == {USED_TOKEN.id: USED_TOKEN.value}


def test_a_token_that_is_accepted_again_is_not_found(
    ca: StepCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca._tokens[USED_TOKEN.id] = ca._token(NAME)
    monkeypatch.setattr(ca, "_sign", refusing(lambda _subject: False))
    assert ca.read_canaries([USED_TOKEN]) == {}


def test_a_ca_that_refuses_every_token_says_nothing(
    ca: StepCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ca, "_sign", refusing(lambda _subject: True))
    with pytest.raises(CouldNotLook, match="refuses a fresh token"):
        ca.read_canaries([USED_TOKEN])


def test_a_token_of_another_process_cannot_be_looked_for(
    ca: StepCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ca, "_sign", refusing(lambda _subject: False))
    with pytest.raises(CouldNotLook, match="g1 token 1: this token is not known"):
        ca.read_canaries([USED_TOKEN])


def test_without_a_trusted_root_nothing_is_said() -> None:
    with pytest.raises(CouldNotLook, match="no root certificate is known"):
        StepCa(None, None).look_healthy()  # type: ignore[arg-type]


def test_a_token_of_another_ca_is_not_remembered(
    ca: StepCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = ca.provisioner
    ca.provisioner = step_ca.new_ca("/home/step", "ca.test").provisioner
    ca._tokens[USED_TOKEN.id] = ca._token(NAME)
    ca.provisioner = mine
    monkeypatch.setattr(ca, "_sign", refusing(lambda subject: subject == NAME))
    assert ca.read_canaries([USED_TOKEN]) == {}


def test_what_was_given_up_must_be_refused(
    ca: StepCa, made: step_ca.NewCA, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = issued_by(step_ca.new_ca("/home/step", "ca.test"), "a.test")
    ca._issued = [issued_by(made), other]
    ca.give_up()
    assert (ca._issued, [one.name for one in ca.retired]) == ([], [NAME, "a.test"])
    mine, foreign = (ca._verified("x", one).held for one in ca.retired)
    assert (mine, foreign) == (True, False), "the first would still be accepted: not refused"
