"""What the service classes write and compare, as far as it is pure."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from jwcrypto import jwe, jwk

from fixtures.services import alertmanager, mosquitto, prometheus, step_ca
from fixtures.services.base import ServiceUnderTest
from fixtures.services.registry import SERVICES

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_every_kind_has_a_class_of_its_own() -> None:
    known = {"alertmanager", "atlantis", "grafana", "loki", "mosquitto", "prometheus", "step-ca"}
    assert set(SERVICES) == known | {"generic"}
    assert all(issubclass(one, ServiceUnderTest) for one in SERVICES.values())


def shown(**changes: object) -> dict[str, object]:
    silence = alertmanager.silences("g1", NOW)["maintenance"]
    state = {"id": "some", "updatedAt": "2026-11-23T12:00:00.000Z", "status": {"state": "active"}}
    return {**silence, **state, **changes}


def test_the_order_of_matchers_has_no_meaning() -> None:
    matchers = shown()["matchers"]
    assert isinstance(matchers, list)
    turned = shown(matchers=[dict(reversed(one.items())) for one in reversed(matchers)])
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
    kinds = {(one["isRegex"], one["isEqual"]) for silence in made for one in silence["matchers"]}
    assert kinds == {(False, True), (True, True), (False, False), (True, False)}


def test_no_two_samples_have_one_value() -> None:
    series = [
        prometheus.made(generation, "m", part, 0, prometheus.HISTORY)
        for generation in ("generation-12", "generation-21", "later")
        for part in (1, 2)
    ]
    values = [value for one in series for _, value in one.samples]
    assert len(set(values)) == len(values) == 600


def test_a_sample_keeps_all_its_digits_and_milliseconds() -> None:
    assert prometheus.canonical([(1500, 0.1), (2001, 1 / 3)]) == (
        "1.500=0.1 2.001=0.3333333333333333"
    )


def test_openmetrics_text_ends_as_the_format_wants() -> None:
    series = prometheus.made("g1", "m", 1, 60, (60, 2))
    seed, text = series.samples[0][1], prometheus.openmetrics([series]).decode()
    assert text.splitlines() == [
        "# TYPE m gauge",
        f'm{{generation="g1",job="atlas-drills",part="1"}} {seed!r} 60.000',
        f'm{{generation="g1",job="atlas-drills",part="1"}} {series.samples[1][1]!r} 120.000',
        "# EOF",
    ]


def test_a_history_fits_into_one_block() -> None:
    interval, count = prometheus.HISTORY
    assert 300 + interval * count < prometheus.BLOCK_SECONDS


def test_retained_messages_cover_each_qos_and_every_byte() -> None:
    messages = mosquitto.retained_messages("g1")
    assert {one.qos for one in messages} == {0, 1, 2}
    assert set(range(256)) <= {byte for one in messages for byte in one.payload}


def test_the_place_in_the_queue_is_compared() -> None:
    first, second, *rest = mosquitto.queued_messages("g1")
    values = mosquitto.number_queued("g1", [first, second, *rest])
    assert len(values) == 6
    assert mosquitto.number_queued("g1", [*rest, first, second]) != values
    assert len(mosquitto.number_queued("g1", [first, *rest])) == 5


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
