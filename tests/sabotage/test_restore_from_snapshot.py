"""The drill `restore from snapshot`, seen red for each of its verifications."""

import pytest

import drills.test_restore_from_snapshot as runbook
import tests.sabotage.acts as acts
from fixtures.evidence.record import Verdict

SERVICES = ["prometheus", "alertmanager", "mosquitto", "grafana", "atlantis", "step-ca"]
"""Loki's is below: a chunk that is deleted."""

body = runbook.test_service_restored_from_snapshot


@pytest.mark.parametrize("name", SERVICES)
def test_one_changed_canary_is_wrong_data(spoiled, name):
    act = acts.after("wait_until_healthy", acts.change_a_canary)
    assert acts.broken(spoiled(body, name, "snapshot", act))


def test_a_skipped_restore_is_wrong_data(spoiled):
    act = acts.instead("restore_snapshot", acts.nothing)
    drill = spoiled(body, "mosquitto", "snapshot", act)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "lost: " in drill.reason
    assert drill.canaries.lost, "the ledger names the lost canaries"


@pytest.mark.usefixtures("never_healthy")
def test_a_ca_that_is_not_restored_does_not_come_up(spoiled):
    drill = spoiled(body, "step-ca", "snapshot", acts.instead("restore_snapshot", acts.nothing))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "service step-ca healthy: " in drill.reason


def test_an_older_snapshot_is_wrong_data(spoiled):
    act = acts.instead("restore_snapshot", acts.restore("older"))
    drill = spoiled(body, "prometheus", "snapshot", act)
    assert drill.verdict is Verdict.WRONG_DATA
    assert any("newest" in lost for lost in drill.canaries.lost)


def test_a_newer_snapshot_is_wrong_data(spoiled):
    act = acts.instead("restore_snapshot", acts.restore("newer"))
    drill = spoiled(body, "mosquitto", "snapshot", act)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "there although written after the backup" in drill.reason
    assert drill.canaries.unexpected


def test_a_wrong_owner_is_wrong_data(spoiled):
    act = acts.after("wait_until_healthy", acts.shell("chown 0:0 /mosquitto/data"))
    drill = spoiled(body, "mosquitto", "snapshot", act)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "owner and mode of the state directory" in drill.reason


def test_another_ca_is_not_the_one_that_clients_trust(spoiled):
    drill = spoiled(body, "step-ca", "snapshot", acts.after("start", acts.another_ca))
    assert drill.verdict is Verdict.WRONG_DATA
    assert "certificate that does not chain to the root" in drill.reason


@pytest.mark.parametrize(
    ("verb", "act", "in_log"),
    [("start", acts.shell(acts.ROT), True), ("wait_until_healthy", acts.change_a_canary, False)],
    ids=["log", "chunk"],
)
def test_lines_are_missed_though_loki_counts_no_error(spoiled, verb, act, in_log):
    drill = spoiled(body, "loki", "snapshot", acts.after(verb, act))
    assert drill.verdict is Verdict.WRONG_DATA, drill.reason
    # The flush of the newest generation took the recent lines of the one before it.
    assert {"newest/recent/" in lost for lost in drill.canaries.lost} == {in_log}
    proofs = {check.name: check.outcome for check in drill.checks if check.name.endswith(" is 0")}
    assert len(proofs) == 4
    assert set(proofs.values()) == {"held"}


def test_a_loss_that_does_not_happen_stops_the_drill(spoiled):
    held = "mkdir /mosquitto/data/held && mount -t tmpfs tmpfs /mosquitto/data/held"
    drill = spoiled(body, "mosquitto", "snapshot", acts.shell(held))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "the loss could not be staged" in drill.reason
