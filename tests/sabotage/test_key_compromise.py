"""The drill of a leaked CA key, seen red for each thing of the old CA that stays good."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization

import drills.test_key_compromise as runbook
import fixtures.recovery.key_compromise as engine
import fixtures.recovery.service as verbs
from fixtures.errors import CouldNotLook, DrillError
from fixtures.evidence.verdict import Verdict
from fixtures.incus.client import Incus
from fixtures.incus.volumes import Volume
from fixtures.recovery.key_compromise import CaUnderDrill, ClientsUnderDrill
from fixtures.recovery.service import ServiceUnderDrill
from fixtures.services.step_ca_attacker import KEYS

ONE = ["mosquitto"]
BOTH = ["mosquitto", "prometheus"]


@pytest.fixture
def exposed(make_service, fleet, drill_project, scratch):
    """Makes a CA and clients of it, deployed, whose key has leaked: (drill, ca, clients)."""
    made = []

    def make(names):
        drill, service = make_service("step-ca", "key-compromise")
        ca = CaUnderDrill(service)
        members = [
            ServiceUnderDrill(
                Incus(drill_project.endpoint, drill_project.policy, project=drill_project.project),
                fleet.service(name),
                drill,
                scratch,
                fleet.pool,
                service.provisioner,
            )
            for name in names
        ]
        clients = ClientsUnderDrill(members)
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
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 15.0)
    monkeypatch.setattr("fixtures.recovery.after.SOAK_SECONDS", 0.5)

    def run(sabotage, names=ONE):
        drill, ca, clients = exposed(names)
        sabotage(ca, clients)
        try:
            runbook.test_ca_regenerated_after_its_key_leaked(drill, ca, clients)
        except DrillError as error:
            drill.fail(error)
        drill.look_afterwards()
        return drill.record()

    return run


def broken(record):
    """Names of the checks that did not hold."""
    return [check.name for check in record.checks if check.outcome == "broken"]


def after(thing, verb, act):
    """Let the verb do its work, then act."""
    whole = getattr(thing, verb)

    def spoiled(*arguments):
        whole(*arguments)
        act()

    setattr(thing, verb, spoiled)


def client_of(clients, name):
    return next(client for client in clients.clients if client.spec.name == name)


def test_a_drill_that_is_not_spoiled_recovers(spoiled):
    record = spoiled(lambda ca, clients: None)
    assert record.verdict is Verdict.RECOVERED, record.reason
    assert broken(record) == []


def test_a_ca_restored_from_its_backup_is_wrong_data(spoiled):
    def sabotage(ca, clients):
        backup = ca.service.back_up("tarball")

        def start():
            ca.service.start()
            ca.service.wait_until_healthy()

        ca.regenerate = lambda: ca.service.import_tarball(backup)
        ca.start = start

    record = spoiled(sabotage)
    assert record.verdict is Verdict.WRONG_DATA
    seen = broken(record)
    assert "the published fingerprint is a new one" in seen
    assert "mosquitto, port 8883: a client that trusts only the old root refuses it" in seen
    assert "a fresh token of the old provisioner's key is refused" in seen
    assert any(name.startswith("nothing of the old keys is on volume step-ca01") for name in seen)
    assert record.canaries.unexpected, "the old CA remembers its tokens"


@pytest.mark.parametrize("name", BOTH)
def test_a_client_that_keeps_the_old_root_beside_the_new_is_wrong_data(spoiled, name):
    def sabotage(ca, clients):
        client, whole = client_of(clients, name), client_of(clients, name).trust

        def trust(root):
            whole(root + ca.leak.root)
            client.root = root

        client.trust = trust

    record = spoiled(sabotage, [name])
    assert record.verdict is Verdict.WRONG_DATA
    assert broken(record)
    assert all("refuses" in check and "old certificate" in check for check in broken(record))


def test_a_client_that_knows_the_old_root_alone_does_not_come_up(spoiled):
    def sabotage(ca, clients):
        client = client_of(clients, "mosquitto")
        client.trust = lambda root: setattr(client, "root", root)

    record = spoiled(sabotage)
    assert record.verdict is Verdict.WRONG_DATA
    assert "refused by the server" in record.reason
    assert record.phases[-1].name == "healthy"


@pytest.mark.parametrize(
    ("name", "verb"),
    # Prometheus' target is not among the second: it reads its certificate at each handshake.
    [("mosquitto", "take"), ("prometheus", "take"), ("mosquitto", "reload")],
)
def test_a_client_that_keeps_its_old_certificate_is_wrong_data(spoiled, name, verb):
    def sabotage(ca, clients):
        setattr(client_of(clients, name), verb, lambda *_: None)

    record = spoiled(sabotage, [name])
    assert record.verdict is Verdict.WRONG_DATA
    assert f"a certificate of {name} is not of the published CA" in record.reason
    assert "refused by the client" in record.reason


def test_a_key_that_is_left_on_the_volume_is_found(spoiled):
    def sabotage(ca, clients):
        def leave():
            pem = ca.leak.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
            ca.service.instance.push("/home/step/forgotten.pem", pem)

        after(ca, "start", leave)

    record = spoiled(sabotage)
    assert record.verdict is Verdict.WRONG_DATA
    assert "the old intermediate_ca_key in the clear in backup/volume/forgotten.pem" in (
        record.reason
    )
    assert len(broken(record)) == 1


def test_a_sealed_key_in_a_snapshot_is_found(spoiled):
    def sabotage(ca, clients):
        path = f"/home/step/.step/secrets/{KEYS[0]}"
        sealed = ca.service.instance.pull(path)

        def leave():
            ca.service.instance.push("/home/step/forgotten", sealed)
            ca.service.volume.snapshot("forgotten")
            ca.service.instance.must_exec(["rm", "/home/step/forgotten"])

        after(ca, "start", leave)

    record = spoiled(sabotage)
    assert record.verdict is Verdict.WRONG_DATA
    assert "the old root_ca_key, as it was sealed in backup/volume-snapshots/forgotten/" in (
        record.reason
    )
    assert len(broken(record)) == 1


def test_a_copy_of_the_old_volume_is_found(spoiled, drill_project, fleet):
    copy = Volume(drill_project, fleet.pool, "step-ca01-data-copy")

    def sabotage(ca, clients):
        source = {"type": "copy", "name": ca.service.volume.name, "pool": fleet.pool}
        body = {"name": copy.name, "type": "custom", "source": source}
        drill_project.wait(copy._all.post(json=body))

    try:
        record = spoiled(sabotage)
    finally:
        copy.delete()
    assert record.verdict is Verdict.WRONG_DATA
    assert len(broken(record)) == 1
    assert "step-ca01-data-copy" in broken(record)[0]


def test_a_revocation_that_was_not_made_is_wrong_data(spoiled):
    record = spoiled(lambda ca, clients: setattr(ca, "revoke_the_old", lambda: None))
    assert record.verdict is Verdict.WRONG_DATA
    assert broken(record)
    assert all(name.endswith("was revoked") for name in broken(record))


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

    record = spoiled(sabotage)
    assert record.verdict is Verdict.WRONG_DATA
    seen = broken(record)
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


def test_without_clients_the_evidence_says_so(spoiled):
    record = spoiled(lambda ca, clients: None, [])
    assert record.verdict is Verdict.RECOVERED
    assert "no client of the CA was looked at" in record.notes
    assert engine.OFF_SITE in record.notes
