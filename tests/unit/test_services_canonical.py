"""What the service classes write and compare, as far as it is pure."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from jwcrypto import jwe, jwk

from fixtures.services import alertmanager, mosquitto, step_ca
from fixtures.services.base import ServiceUnderTest
from fixtures.services.registry import SERVICES

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_every_kind_has_a_class_of_its_own() -> None:
    known = {"alertmanager", "atlantis", "grafana", "loki", "mosquitto", "prometheus", "step-ca"}
    assert set(SERVICES) == known | {"generic"}
    assert all(issubclass(each, ServiceUnderTest) for each in SERVICES.values())


def shown(**changes: object) -> dict[str, object]:
    silence = alertmanager.silences("g1", NOW)["maintenance"]
    state = {"id": "some", "updatedAt": "2026-11-23T12:00:00.000Z", "status": {"state": "active"}}
    return {**silence, **state, **changes}


def test_the_order_of_matchers_has_no_meaning() -> None:
    matchers = shown()["matchers"]
    assert isinstance(matchers, list)
    turned = shown(matchers=[dict(reversed(each.items())) for each in reversed(matchers)])
    assert alertmanager.canonical(turned) == alertmanager.canonical(shown())


def test_everything_else_of_a_silence_has_a_meaning() -> None:
    matchers = shown()["matchers"]
    assert isinstance(matchers, list)
    negated = [{**matchers[0], "isEqual": False}, *matchers[1:]]
    changes: list[dict[str, object]] = [
        {"comment": "other"},
        {"createdBy": "other"},
        {"endsAt": "2026-11-24T12:00:00.000Z"},
        {"startsAt": "2026-11-22T12:00:00.000Z"},
        {"status": {"state": "expired"}},
        {"updatedAt": "2026-11-23T12:00:01.000Z"},
        {"matchers": negated},
        {"matchers": matchers[1:]},
    ]
    values = {alertmanager.canonical(shown(**change)) for change in changes}
    assert len(values | {alertmanager.canonical(shown())}) == len(changes) + 1


def test_silences_use_every_kind_of_matcher() -> None:
    made = alertmanager.silences("g1", NOW).values()
    matchers = [matcher for silence in made for matcher in silence["matchers"]]
    kinds = {(matcher["isRegex"], matcher["isEqual"]) for matcher in matchers}
    assert kinds == {(False, True), (True, True), (False, False), (True, False)}


def test_retained_messages_cover_each_qos_and_every_byte() -> None:
    messages = mosquitto.retained("g1")
    assert {one.qos for one in messages} == {0, 1, 2}
    assert set(range(256)) <= {byte for one in messages for byte in one.payload}


def test_the_place_in_the_queue_is_compared() -> None:
    first, second, *rest = mosquitto.queued("g1")
    values = mosquitto.numbered("g1", [first, second, *rest])
    assert len(values) == 6
    assert mosquitto.numbered("g1", [*rest, first, second]) != values
    assert len(mosquitto.numbered("g1", [first, *rest])) == 5


def test_a_new_ca_has_its_files_with_owner_and_mode() -> None:
    made = step_ca.new_ca("/home/step", "ca.test")
    packed = step_ca.packed(made.files, 1100, 1101)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        modes = {entry.name: entry.mode for entry in tar}
        owners = {(entry.uid, entry.gid) for entry in tar}
    assert owners == {(1100, 1101)}
    assert modes["fingerprint"] == 0o644
    assert modes[".step/secrets"] == 0o700
    assert {modes[name] for name in modes if name.startswith(".step/secrets/")} == {0o600}


def test_the_keys_of_a_new_ca_open_with_its_password() -> None:
    made = step_ca.new_ca("/home/step", "ca.test")
    files = {name: content for name, (content, _) in made.files.items()}
    password = files[".step/secrets/password"].strip()
    for name in ("root_ca", "intermediate_ca"):
        key = serialization.load_pem_private_key(files[f".step/secrets/{name}_key"], password)
        certificate = x509.load_pem_x509_certificate(files[f".step/certs/{name}.crt"])
        assert key.public_key() == certificate.public_key()
    provisioner = json.loads(files[".step/config/ca.json"])["authority"]["provisioners"][0]
    opened = jwe.JWE()
    opened.deserialize(provisioner["encryptedKey"], jwk.JWK.from_password(password.decode()))
    private = jwk.JWK.from_json(opened.payload.decode())
    assert private.thumbprint() == provisioner["key"]["kid"]
    assert "d" not in provisioner["key"]


def test_secrets_of_a_new_ca_do_not_print_themselves() -> None:
    made = step_ca.new_ca("/home/step", "ca.test")
    secret = made.files[".step/secrets/password"][0].decode().strip()
    assert secret not in repr(made.password) + str(made.provisioner)
