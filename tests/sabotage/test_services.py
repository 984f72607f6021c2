"""What a service class checks beyond its canaries, seen red for each check."""

import json
from datetime import UTC, datetime

import pytest
from paho.mqtt.client import MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import drills.test_restore_from_snapshot as runbook
import fixtures.services.base as base
import tests.sabotage.acts as acts
from fixtures.errors import CouldNotLook, WrongData
from fixtures.recovery.checks import judge_items
from fixtures.services.mosquitto import connected
from fixtures.services.step_ca import new_ca

body = runbook.test_service_restored_from_snapshot
WRITABLE = "user {} can write what is below the root of the state"


@pytest.mark.parametrize(
    ("name", "script", "proof"),
    [
        (
            "prometheus",
            "chown -R 0:0 /prometheus/01*; chmod -R go-w /prometheus/01*",
            "a deletion is written into every block",
        ),
        ("loki", "chown -R 0:0 /loki/chunks", "a new line reaches a chunk in the store"),
        (
            "mosquitto",
            "mkdir /mosquitto/data/mosquitto.db.new",
            "a new message is in the database that the broker writes",
        ),
    ],
)
def test_what_it_cannot_write_below_the_root_is_wrong_data(spoiled, name, script, proof):
    act = acts.after("wait_until_healthy", acts.shell(script))
    found = acts.broken(spoiled(body, name, "snapshot", act))
    assert proof in found
    if "chown" in script:
        assert WRITABLE.format(name) in found


@pytest.mark.parametrize(
    ("name", "script", "proof"),
    [
        ("step-ca", "chown -R 0:0 /home/step/.step/db", WRITABLE.format("step")),
        (
            "alertmanager",
            "cd /var/lib/alertmanager; rm -f silences; mkdir silences",
            "a new silence outlives a restart",
        ),
    ],
)
def test_what_a_drill_sees_on_the_clock_is_also_seen_by_writing(
    healthy, monkeypatch, name, script, proof
):
    monkeypatch.setattr(base, "RESTART_SECONDS", 5.0)
    service = healthy(name)
    held = {each.name: each.held for each in service.subject.slow_active_checks()}
    assert held[proof] is True
    service.instance.must_exec(["sh", "-ec", script])
    held = {each.name: each.held for each in service.subject.slow_active_checks()}
    assert held[proof] is False


def test_a_root_key_that_was_broken_already_at_the_source_is_wrong_data(deployed):
    drill, service, _ = deployed("step-ca", "snapshot")
    service.wait_until_healthy()
    zero = "f=/home/step/.step/secrets/root_ca_key; s=$(stat -c %s $f); : >$f; truncate -s $s $f"
    service.instance.must_exec(["sh", "-ec", zero])
    record = acts.attempt(drill, body, service, service.back_up("snapshot"))
    assert acts.broken(record).keys() == {"whole: private key root_ca_key opens with the password"}
    assert "it is no private key" in record.reason
    assert record.not_looked_at


@pytest.mark.parametrize("is_other", [False, True], ids=["restored", "another one"])
def test_a_ca_that_is_on_the_volume_already_is_not_written_over(healthy, monkeypatch, is_other):
    subject = healthy("step-ca").subject
    root = "/home/step/.step/certs/root_ca.crt"
    if is_other:
        other = new_ca("/home/step", "ca.atlas.internal")
        monkeypatch.setattr(subject, "trusted_root", other.root)
    before = subject.inside.pull(root)
    error, words = (CouldNotLook, "another CA") if is_other else (WrongData, "the CA of before")
    with pytest.raises(error, match=words):
        subject.initialise()
    assert subject.inside.pull(root) == before


def test_odd_names_among_the_files_of_a_ca_are_files_like_others(healthy):
    service = healthy("step-ca")
    name = ".step/certs/old|20\n24.crt"
    service.instance.push(f"/home/step/{name}", b"x")
    links = "cd /home/step/.step/certs; ln -s root_ca.crt now.crt; ln -s nowhere gone.crt"
    service.instance.must_exec(["sh", "-ec", links])
    facts, outside = service.subject.read_facts(), service.subject.read_facts_remotely()
    assert facts[f"sha256 of {name}"].startswith("2d711642b726b044")
    assert not any("password" in fact for fact in facts if fact.startswith("sha256"))
    differs = {fact for fact in outside if outside[fact] != facts.get(fact)}
    assert not differs, "file reads and commands have the same answers"
    assert f"sha256 of {name}" in outside


def test_a_group_of_rules_that_is_gone_is_missed(healthy):
    service = healthy("loki")
    rule = {"alert": "A", "expr": 'count_over_time({job="x"}[1m]) > 0'}
    groups = json.dumps({"groups": [{"name": "g", "rules": [rule]}]})
    service.instance.must_exec(["install", "-d", "-o", "loki", "-g", "loki", "/loki/rules/fake"])
    service.instance.push("/loki/rules/fake/r.yaml", groups.encode())
    now = datetime.now(UTC)
    before = {each.id: each.value for each in service.subject.list_items(now)}
    assert "rule groups: r.yaml/g" in before
    service.instance.must_exec(["rm", "-r", "/loki/rules/fake"])
    after = {each.id: each.value for each in service.subject.list_items(now)}
    assert judge_items(before, {}, after).lost == ["rule groups: r.yaml/g"]
    assert judge_items(before, {}, after).changed == ["rule groups: all"]


def test_late_lines_add_to_a_number_and_change_no_name(healthy):
    service = healthy("loki")
    now = datetime.now(UTC)
    before = {each.id: each for each in service.subject.list_items(now)}
    service.subject.write_canaries("later-9")
    after = {each.id: each for each in service.subject.list_items(now)}
    assert before.keys() == after.keys()
    name = "log lines: with label job, of the last hour"
    assert before[name].count < after[name].count


def test_an_emptied_notification_log_is_missed(spoiled):
    empty = acts.shell(
        "systemctl stop alertmanager; : >/var/lib/alertmanager/nflog; systemctl start alertmanager;"
        "systemctl kill --signal=KILL alertmanager; : >/var/lib/alertmanager/nflog"
    )
    found = acts.broken(spoiled(body, "alertmanager", "snapshot", acts.after("start", empty)))
    assert "notification log" in found
    assert "an alert that was notified before the backup is not notified again" in found


def test_sessions_that_are_gone_are_missed(spoiled):
    def drop(service, backup):
        service.instance.wait_until_usable()
        service.wait_until_healthy()
        with connected(service.subject.dial, "atlas-drills-earlier"):
            pass
        service.restart()

    found = acts.broken(spoiled(body, "mosquitto", "snapshot", acts.after("start", drop)))
    assert "session atlas-drills-earlier" in found
    assert "messages queued for session atlas-drills-earlier" in found


def test_a_retained_message_that_expires_is_known_to_end(healthy):
    service = healthy("mosquitto")
    soon = Properties(PacketTypes.PUBLISH)
    soon.MessageExpiryInterval = 600
    with connected(service.subject.dial, version=MQTTv5) as client:
        sent = client._paho.publish("a/b", b"x", 1, True, soon)
        client.wait(sent.is_published, "PUBACK")
    found = {each.name: each for each in service.subject.list_items(datetime.now(UTC))}
    assert 500 < (found["a/b"].until - datetime.now(UTC)).total_seconds() <= 600
    assert found["all"].until == found["a/b"].until
    assert found["atlas-drills/earlier/retained/text"].until is None


@pytest.mark.parametrize("name", ["prometheus", "loki", "step-ca", "alertmanager", "mosquitto"])
def test_a_source_is_read_by_dialling_and_file_reads_alone(healthy, name):
    class Outside:
        """What is offered of a source."""

        def __init__(self, instance):
            self.name, self.dial, self.pull = instance.name, instance.dial, instance.pull

        def must_exec(self, *_, **__):
            raise CouldNotLook("a command in a source is a change of it")

    service = healthy(name)
    subject, now = service.subject, datetime.now(UTC)
    facts = subject.read_facts()
    subject.inside = Outside(service.instance)
    seen = subject.read_facts_remotely()
    assert seen.items() <= facts.items()
    assert bool(seen) or name == "loki"
    assert subject.list_items(now) and subject.version()
    assert (subject.newest(now) is not None) == (name in ("prometheus", "loki"))
    with pytest.raises(CouldNotLook):
        subject.read_facts()
    subject.inside = service.instance
