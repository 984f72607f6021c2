"""The drills `rebuild`, seen red for each of their verifications."""

import pytest

import drills.test_rebuild as runbook
import tests.sabotage.acts as acts
from fixtures.evidence.record import Verdict
from fixtures.recovery.provision import ByCommand, FromSource

WRONG, FAILED = Verdict.WRONG_DATA, Verdict.NOT_RECOVERED


@pytest.fixture
def rebuilt(deployed):
    """Runs the drill's body on a sabotaged service and returns its evidence."""

    def run(name, sabotage, body=runbook.test_service_rebuilt_without_its_data):
        drill, service, lost = deployed(name, "rebuild")
        service.wait_until_healthy()
        sabotage(service, lost)
        return acts.attempt(drill, body, service, lost)

    return run


def keep_the_volume(service, lost):
    """The instance is deleted, its volume forgotten, after all was written to it."""
    service.subject.close()
    service.instance.stop()
    service.instance.delete()


def on_the_old_volume(service, lost):
    """The loss and the rebuild spare the volume; no new CA is made over the old one."""
    acts.instead("destroy", keep_the_volume)(service, lost)
    acts.instead("rebuild", lambda *_: service.create_instance())(service, lost)
    acts.instead("start_empty", lambda *_: service.start())(service, lost)


def on_an_old_snapshot(service, lost):
    on_the_old_volume(service, lost)
    acts.after("destroy", lambda *_: service.volume.restore("older"))(service, lost)


def wipe(service, lost):
    path, unit = service.spec.volumes[0].path, service.spec.unit
    script = f"systemctl stop {unit}; find {path} -mindepth 1 -delete; systemctl start {unit}"
    service.subject.close()
    service.instance.must_exec(["sh", "-c", script])


NOT_RUNNING = "instance mosquitto01: Instance is not running"
ROWS = [
    ("prometheus", on_an_old_snapshot, WRONG, "there although written after the backup"),
    ("step-ca", on_the_old_volume, WRONG, "there although written after the backup: earlier"),
    ("mosquitto", acts.instead("restart", wipe), WRONG, "lost: new"),
    ("mosquitto", acts.instead("start_empty", acts.nothing), FAILED, NOT_RUNNING),
    ("mosquitto", acts.instead("rebuild", acts.nothing), FAILED, "start instance mosquitto01"),
]


@pytest.mark.parametrize(("name", "sabotage", "verdict", "why"), ROWS)
def test_what_has_old_data_or_does_not_work_is_no_rebuilt_service(
    rebuilt, name, sabotage, verdict, why
):
    acts.must_be(rebuilt(name, sabotage), verdict, why)


def test_what_was_lost_is_in_the_record(rebuilt):
    drill = rebuilt("mosquitto", acts.nothing)
    assert drill.verdict is Verdict.RECOVERED
    assert [loss for loss in drill.losses if "retained" in loss]
    assert drill.rpo is None, "what is new did not survive the loss"


NOT_MADE = [
    (
        *(ByCommand(["true"], list), runbook.test_service_rebuilt_by_the_operators_command),
        *(FAILED, "ended well, but instance mosquitto01 is not in project"),
    ),
    (
        *(FromSource("default"), runbook.test_service_rebuilt_as_a_copy_of_its_source),
        *(Verdict.NOT_VERIFIED, "there is nothing to copy: "),
    ),
]


@pytest.mark.parametrize(("provisioner", "body", "verdict", "why"), NOT_MADE)
def test_an_instance_that_was_not_made_is_named(rebuilt, provisioner, body, verdict, why):
    def sabotage(service, lost):
        service.provisioner = provisioner

    acts.must_be(rebuilt("mosquitto", sabotage, body), verdict, why)
