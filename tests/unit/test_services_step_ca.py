"""step-ca's new files, its one-time tokens and the judgement of its certificates, without a CA."""

import json
import time
from datetime import UTC, datetime

import pytest
from jwcrypto import jwk, jwt

from fixtures.clock import NotYet
from fixtures.errors import CouldNotLook, WrongData
from fixtures.services import step_ca
from fixtures.services.base import Canary
from fixtures.services.step_ca import StepCa
from tests.imitations.instance import spec_of
from tests.unit.servers import context_of, identity, pages, server
from tests.unit.test_tls import NEW, Volume, steal_keys

NAME = "a.test"
TOKEN = Canary("g1 token 1", step_ca.USED, datetime.now(UTC), key=NAME)
MADE = step_ca.new_ca("/home/step", "ca.test")
FOREIGN_KEY = NEW.forge(NAME).key.reveal().encode()
OWN = steal_keys(Volume(MADE.files), "/home/step", MADE.root, MADE.provisioner)


@pytest.fixture
def ca(monkeypatch):
    service = StepCa(None, None)
    service.trusted_root, service.provisioner = MADE.root, MADE.provisioner
    kid = jwk.JWK.from_json(MADE.provisioner.reveal()).thumbprint()
    monkeypatch.setattr(service, "_provisioners", lambda: [{"key": {"kid": kid}}, {"type": "ACME"}])
    return service


def test_the_keys_of_a_new_ca_open_with_its_password_and_do_not_print_themselves():
    modes = {path: mode for path, (_, mode) in MADE.files.items()}
    assert {modes[path] for path in modes if path.startswith(".step/secrets/")} == {0o600}
    files = {name: content for name, (content, _) in MADE.files.items()}
    password = files[".step/secrets/password"].strip()
    [provisioner, acme] = json.loads(files[".step/config/ca.json"])["authority"]["provisioners"]
    private = step_ca.open_provisioner([acme, provisioner], password + b"\n")
    assert jwk.JWK.from_json(private.reveal()).thumbprint() == provisioner["key"]["kid"]
    assert "d" not in provisioner["key"]
    for listed, key in (([acme], password), ([provisioner], b"another")):
        with pytest.raises(CouldNotLook, match="no provisioner of the CA|does not open"):
            step_ca.open_provisioner(listed, key)
    assert MADE.provisioner.reveal() not in repr(MADE.provisioner) + str(MADE.provisioner)


def test_a_token_can_outlive_a_restart_and_does_not_print_itself(ca):
    key, secret = jwk.JWK.from_json(MADE.provisioner.reveal()), ca._token(NAME)
    token = jwt.JWT(jwt=secret.reveal(), key=key, algs=["ES256"])
    claims = json.loads(token.claims)
    # With `iat`, step-ca would refuse it after a restart for another reason than its use.
    assert "iat" not in claims
    assert claims["exp"] > time.time() + 3600
    assert json.loads(token.header)["kid"] == key.thumbprint()
    assert secret.reveal() != ca._token(NAME).reveal()
    assert secret.reveal() not in f"{secret} {secret!r}"


@pytest.mark.parametrize(
    ("signer", "refused", "found"),
    [
        (MADE.provisioner, [NAME], {TOKEN.id: TOKEN.value}),
        (MADE.provisioner, [], {}),
        (NEW.provisioner, [NAME], {}),  # for its signer, not for its use
    ],
)
def test_a_used_token_is_found_when_only_it_is_refused(ca, monkeypatch, signer, refused, found):
    monkeypatch.setattr(ca, "_sign", lambda subject, _: None if subject in refused else object())
    ca._tokens[TOKEN.id] = ca._token(NAME, key=signer)
    assert ca.read_canaries([TOKEN]) == found


def test_what_is_not_known_of_tokens_is_said(ca, monkeypatch):
    monkeypatch.setattr(ca, "_sign", lambda *_: None)
    with pytest.raises(CouldNotLook, match="refuses a fresh token"):
        ca.read_canaries([TOKEN])
    monkeypatch.setattr(ca, "_sign", lambda *_: object())
    with pytest.raises(CouldNotLook, match="g1 token 1: this token is not known"):
        ca.read_canaries([TOKEN])


def test_only_the_root_of_the_published_fingerprint_is_trusted():
    own = identity("ca.test")
    right, wrong = step_ca.fingerprint(own.leaf), "0" * 64
    served = json.dumps({"ca": own.pem.decode()}).encode()
    found = {f"/root/{right}": served, f"/root/{wrong}": served}
    with server(pages(found), context_of(own)) as dial:
        assert step_ca.bootstrap(dial, "ca.test", right) == own.pem.decode()
        with pytest.raises(WrongData, match=f"hands out root {right} for the published fingerp"):
            step_ca.bootstrap(dial, "ca.test", wrong)
        with pytest.raises(CouldNotLook, match="has no root of fingerprint other: not here"):
            step_ca.bootstrap(dial, "ca.test", "other")


def test_a_ca_whose_root_must_be_fetched_is_asked_again_while_nothing_listens():
    class Instance:
        def dial(self, port):
            raise ConnectionRefusedError(f"nothing listens on {port}")

    service = StepCa(spec_of("step-ca"), Instance())
    with pytest.raises(CouldNotLook, match="no root certificate is known"):
        service.check_health()
    service.load_facts({"root fingerprint": "0" * 64})
    with pytest.raises(NotYet, match="no root for a fingerprint: nothing listens on 9000"):
        service.check_health()


def test_a_ca_is_asked_by_the_name_in_its_settings():
    class Instance:
        def pull(self, path):
            own_root = path.endswith("root_ca.crt")
            return own.pem if own_root else b'{"dnsNames": ["ca.example.com", "localhost"]}'

    own = identity("ca.example.com")
    with server(pages({"/health": b"ok"}), context_of(own)) as dial:
        service = StepCa(spec_of("step-ca"), Instance())
        service.dial = dial
        service.trust_copy()
        assert service.check_health() == "ok"
        service.close()


def test_what_was_given_up_must_be_refused(ca, monkeypatch):
    monkeypatch.setattr(ca, "_sign", lambda *_: OWN.forge(NAME))
    monkeypatch.setattr(ca, "_certificates", lambda _path: [OWN.intermediate])
    own, foreign = OWN.forge("own.test"), NEW.forge("foreign.test")
    ca._issued = [own, foreign]
    assert [proof.held for proof in ca.active_checks()] == [True, True, False]
    ca.forget_state()
    assert ca.retired == [own, foreign]
    # The first would still be accepted: it is not refused.
    assert [proof.held for proof in ca.active_checks()] == [True, False, True]


@pytest.mark.parametrize(
    ("change", "held", "detail"),
    [
        (lambda pem: pem, True, "its public half is that of root_ca.crt"),
        (lambda pem: b"", False, "it is no private key: 0 bytes without a PEM header"),
        (lambda pem: pem[:200] + pem[210:], None, "it does not open"),
        (lambda pem: FOREIGN_KEY, False, "its public half is not that of root_ca.crt"),
    ],
)
def test_a_private_key_opens_and_belongs_to_its_certificate(change, held, detail):
    files = {f"/home/step/{name}": content for name, (content, _) in MADE.files.items()}
    step = "/home/step/.step"
    files[f"{step}/elsewhere"] = change(files.pop(f"{step}/secrets/root_ca_key"))
    listing = {"type": "sync", "status_code": 200, "metadata": ["password", "root_ca_key"]}
    files[f"{step}/secrets"] = json.dumps(listing).encode()

    class Instance:
        pull = staticmethod(files.__getitem__)

        def must_exec(self, argv):
            """`realpath`: the key is a link."""
            return argv[-1].replace("secrets/root_ca_key", "elsewhere")

    [proof] = StepCa(spec_of("step-ca"), Instance()).check_keys()
    assert (proof.name, proof.held) == ("private key root_ca_key opens with the password", held)
    assert detail in proof.detail
