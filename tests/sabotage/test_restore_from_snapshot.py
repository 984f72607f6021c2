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


def another_ca(service, backup):
    """Make another CA on the volume, as an installer does that is run again."""
    stranger = type(service.subject)(service.spec, service.instance)
    acts.shell("rm -rf /home/step/.step /home/step/fingerprint")(service, backup)
    stranger.initialise()
    service.instance.must_exec(["systemctl", "restart", service.spec.unit])


def other_snapshot(name):
    """Put the volume back to another snapshot: `older` or `newer` than the backup."""
    return acts.instead("restore_snapshot", lambda service, _: service.volume.restore(name))


WRONG, FAILED = Verdict.WRONG_DATA, Verdict.NOT_RECOVERED
HELD = "mkdir /mosquitto/data/held && mount -t tmpfs tmpfs /mosquitto/data/held"
OWNER = acts.after("wait_until_healthy", acts.shell("chown 0:0 /mosquitto/data"))


ROWS = [
    ("mosquitto", acts.instead("restore_snapshot", acts.nothing), WRONG, "lost: "),
    ("prometheus", other_snapshot("older"), WRONG, "newest"),
    ("mosquitto", other_snapshot("newer"), WRONG, "there although written after the backup"),
    ("mosquitto", OWNER, WRONG, "owner and mode of the state directory"),
    ("step-ca", acts.after("start", another_ca), WRONG, "that does not chain to the root"),
    ("mosquitto", acts.shell(HELD), FAILED, "the loss could not be staged"),
]


@pytest.mark.parametrize(("name", "sabotage", "verdict", "why"), ROWS, ids=[r[-1] for r in ROWS])
def test_another_restore_than_that_of_the_backup_is_named(spoiled, name, sabotage, verdict, why):
    acts.must_be(spoiled(body, name, "snapshot", sabotage), verdict, why)


@pytest.mark.parametrize(
    ("verb", "act", "in_log"),
    [("start", acts.shell(acts.ROT), True), ("wait_until_healthy", acts.change_a_canary, False)],
    ids=["log", "chunk"],
)
def test_lines_are_missed_though_loki_counts_no_error(spoiled, verb, act, in_log):
    drill = spoiled(body, "loki", "snapshot", acts.after(verb, act))
    assert drill.verdict is Verdict.WRONG_DATA, drill.reason
    # The flush of the newest generation took the recent lines of the one before it.
    assert {"newest/recent/" in lost for lost in drill.canaries.lost} == {in_log}, drill.reason
    proofs = [check.outcome for check in drill.checks if check.name.endswith(" is 0")]
    assert proofs == ["held"] * 4
