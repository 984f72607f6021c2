"""The drill of a leaked CA key, seen red for each thing of the old CA that stays good."""

import json

import pytest
from cryptography.hazmat.primitives import serialization

import drills.test_key_compromise as runbook
import fixtures.recovery.key_compromise as engine
import tests.sabotage.acts as acts
from fixtures.errors import CouldNotLook
from fixtures.evidence.record import Verdict
from fixtures.incus.volumes import Volume
from fixtures.recovery.key_compromise import KEYS, CaUnderDrill, ClientsUnderDrill
from fixtures.recovery.service import ServiceUnderDrill
from fixtures.services.certificates import PEM

BOTH = ("mosquitto", "prometheus")


@pytest.fixture
def exposed(make_service, fleet, drill_project, scratch):
    """Makes a CA and clients of it, deployed, whose key has leaked: (drill, ca, clients)."""
    made = []

    def make(names):
        drill, service = make_service("step-ca", "key-compromise")
        ca, rest = CaUnderDrill(service), (drill, scratch, fleet.pool, service.provisioner)
        clients = ClientsUnderDrill(
            [ServiceUnderDrill(drill_project.clone(), fleet.service(n), *rest) for n in names]
        )
        made.append(clients)
        clients.deploy(ca)
        ca.leak_the_key()
        return drill, ca, clients

    yield make
    for clients in made:
        clients.remove()


@pytest.fixture
def spoiled(exposed, monkeypatch):
    """Runs the drill's own body after `sabotage(ca, clients)`; returns its evidence."""
    monkeypatch.setattr("fixtures.recovery.service.HEALTHY_SECONDS", 15.0)

    def run(sabotage, names=BOTH):
        drill, ca, clients = exposed(names)
        sabotage(ca, clients)
        return acts.attempt(drill, runbook.test_ca_regenerated_after_its_key_leaked, ca, clients)

    return run


def after(thing, verb, act):
    """Let the verb do its work, then act."""
    whole = getattr(thing, verb)
    setattr(thing, verb, lambda *arguments: (whole(*arguments), act()))


def client_of(clients, name):
    return next(client for client in clients.clients if client.spec.name == name)


def test_a_ca_restored_from_its_backup_is_wrong_data(spoiled):
    def sabotage(ca, clients):
        backup = ca.service.back_up("tarball")

        def start():
            ca.service.start()
            ca.service.wait_until_healthy()

        ca.regenerate = lambda: ca.service.import_tarball(backup)
        ca.start = start

    record = spoiled(sabotage, ["mosquitto"])
    seen = acts.broken(record)
    assert "the published fingerprint is a new one" in seen
    assert "mosquitto, port 8883: a client that trusts only the old root refuses it" in seen
    assert "a fresh token of the old provisioner's key is refused" in seen
    assert any(name.startswith("nothing of the old keys is on volume step-ca01") for name in seen)
    assert record.canaries.unexpected, "the old CA remembers its tokens"
    assert {engine.OFF_SITE, engine.OUTSIDE, engine.FREED} <= set(record.notes)


def test_a_client_that_knows_the_old_root_alone_does_not_come_up(spoiled):
    def sabotage(ca, clients):
        client = client_of(clients, "mosquitto")
        client.trust = lambda root: setattr(client, "root", root)

    record = spoiled(sabotage, ["mosquitto"])
    assert record.verdict is Verdict.WRONG_DATA
    assert "refused by the server" in record.reason
    assert record.phases[-1].name == "healthy"


@pytest.mark.parametrize(
    ("name", "verb"),
    # Prometheus' target is not among the second: it reads its certificate at each handshake.
    [("prometheus", "set_identity"), ("mosquitto", "reload")],
)
def test_a_client_that_keeps_its_old_certificate_is_wrong_data(spoiled, name, verb):
    record = spoiled(lambda _, clients: acts.skip(client_of(clients, name), verb), [name])
    assert record.verdict is Verdict.WRONG_DATA
    assert f"a certificate of {name} is not of the published CA" in record.reason
    assert "refused by the client" in record.reason


def keep_both(ca, client):
    """The client goes on to trust the old root beside the new one."""
    whole = client.trust
    client.trust = lambda root: (whole(root + ca.leak.root), setattr(client, "root", root))


def test_old_roots_that_are_trusted_keys_that_are_left_and_what_is_not_revoked_are_found(
    spoiled, drill_project, fleet
):
    """Keys in the clear on the volume, sealed in a snapshot of it, and on a copy of the old one."""
    copy = Volume(drill_project, fleet.pool, "step-ca01-data-copy")

    def sabotage(ca, clients):
        instance = ca.service.instance
        sealed = instance.pull(f"/home/step/.step/secrets/{KEYS[0]}")
        source = {"type": "copy", "name": ca.service.volume.name, "pool": fleet.pool}
        body = {"name": copy.name, "type": "custom", "source": source}
        drill_project.post(*copy._all, body=body)

        def leave():
            form = serialization.PrivateFormat.TraditionalOpenSSL
            pem = ca.leak.key.private_bytes(PEM, form, serialization.NoEncryption())
            instance.push("/home/step/forgotten", sealed)
            ca.service.volume.snapshot("forgotten")
            instance.must_exec(["rm", "/home/step/forgotten"])
            instance.push("/home/step/forgotten.pem", pem)

        after(ca, "start", leave)
        acts.skip(ca, "revoke_the_old")
        for client in clients.clients:
            keep_both(ca, client)

    try:
        seen = acts.broken(spoiled(sabotage))
    finally:
        copy.delete()
    assert any(name.endswith("was revoked") for name in seen)
    for name in BOTH:
        trusting = [check for check in seen if check.startswith(name)]
        assert trusting, f"{name} trusts the old root"
        assert all("refuses" in check and "old certificate" in check for check in trusting)
    left = [name for name in seen if name.startswith("nothing of the old keys is on ")]
    own, copied = sorted(left, key=lambda name: copy.name in name)
    assert "the old intermediate_ca_key in the clear in backup/volume/forgotten.pem" in seen[own]
    sealed = "the old root_ca_key, as it was sealed in backup/volume-snapshots/forgotten/"
    assert sealed in seen[own]
    assert copy.name in copied


def test_a_ca_that_trusts_the_old_root_too_is_wrong_data(spoiled):
    def sabotage(ca, clients):
        def trust_both():
            instance, step = ca.service.instance, "/home/step/.step"
            instance.push(f"{step}/certs/old.crt", ca.leak.root.encode())
            config = json.loads(instance.pull(f"{step}/config/ca.json"))
            config["root"] = [config["root"], f"{step}/certs/old.crt"]
            owner = ca.service.spec.volumes[0].owner
            content = json.dumps(config).encode()
            instance.push(f"{step}/config/ca.json", content, uid=owner.uid, gid=owner.gid)
            ca.service.restart()
            ca.service.wait_until_healthy()

        after(ca, "start", trust_both)

    record = spoiled(sabotage, ["mosquitto"])
    seen = acts.broken(record)
    assert "the CA hands out the published root and no other" in seen
    assert "a certificate newly forged with the old key is not renewed" in seen
    assert any(name.startswith("the old certificate of ") for name in seen)
    assert "the public half of the old root_ca_key in backup/volume/.step/certs/old.crt" in (
        record.reason
    )


def test_a_blind_search_stops_before_the_loss(exposed, monkeypatch):
    monkeypatch.setattr(engine, "search", lambda export, wanted: {name: [] for name in wanted})
    with pytest.raises(CouldNotLook, match="so that not finding it would say nothing"):
        exposed([])
