"""The drills `rebuild`, seen red for each of their verifications."""

import pytest

import drills.test_rebuild as runbook
import tests.sabotage.acts as acts
from fixtures.evidence.record import Verdict
from fixtures.recovery.provision import ByCommand, FromSource

body = runbook.test_service_rebuilt_without_its_data


@pytest.fixture
def rebuilt(deployed):
    """Runs the drill's body on a sabotaged service and returns its evidence."""

    def run(name, sabotage, body=body):
        drill, service, lost = deployed(name, "rebuild")
        service.wait_until_healthy()
        sabotage(service, lost)
        return acts.attempt(drill, body, service, lost)

    return run


def _keep_the_volume(service, lost):
    """The instance is deleted, its volume forgotten, after all was written to it."""
    service.subject.close()
    service.instance.stop()
    service.instance.delete()


def keep_the_old_data(service, lost):
    """The loss and the rebuild spare the volume."""
    acts.instead("destroy", _keep_the_volume)(service, lost)
    acts.instead("rebuild", lambda service, _: service.create_instance())(service, lost)


def wipe(service, lost):
    path, unit = service.spec.volumes[0].path, service.spec.unit
    script = f"systemctl stop {unit}; find {path} -mindepth 1 -delete; systemctl start {unit}"
    service.subject.close()
    service.instance.must_exec(["sh", "-c", script])


def test_an_old_snapshot_that_is_put_back_is_wrong_data(rebuilt):
    def old_snapshot(service, lost):
        service.volume.restore("older")
        service.create_instance()

    def sabotage(service, lost):
        keep_the_old_data(service, lost)
        acts.instead("rebuild", old_snapshot)(service, lost)

    drill = rebuilt("prometheus", sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert drill.canaries.unexpected
    assert all('generation="earlier"' in each for each in drill.canaries.unexpected)


def test_a_ca_that_still_has_its_old_key_is_not_rebuilt(rebuilt):
    def sabotage(service, lost):
        keep_the_old_data(service, lost)
        # As it is: no new CA is made over the old one.
        acts.instead("start_empty", lambda s, _: s.start())(service, lost)

    drill = rebuilt("step-ca", sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "there although written after the backup: earlier token" in drill.reason


@pytest.mark.parametrize(
    ("verb", "act", "verdict", "why"),
    [
        ("restart", wipe, Verdict.WRONG_DATA, "lost: new"),
        (
            "start_empty",
            acts.nothing,
            Verdict.NOT_RECOVERED,
            "instance mosquitto01: Instance is not running",
        ),
        ("rebuild", acts.nothing, Verdict.NOT_RECOVERED, "start instance mosquitto01"),
    ],
    ids=["does not keep what it takes", "is not started", "is not rebuilt"],
)
def test_a_service_that_does_not_work_is_no_rebuilt_one(rebuilt, verb, act, verdict, why):
    drill = rebuilt("mosquitto", acts.instead(verb, act))
    assert drill.verdict is verdict
    assert why in drill.reason


def test_what_was_lost_is_in_the_record(rebuilt):
    drill = rebuilt("mosquitto", lambda service, lost: None)
    assert drill.verdict is Verdict.RECOVERED
    assert [loss for loss in drill.losses if "retained" in loss]
    assert drill.rpo is None, "what is new did not survive the loss"


@pytest.mark.parametrize(
    ("provisioner", "variant", "verdict", "why"),
    [
        (
            ByCommand(["true"], list),
            runbook.test_service_rebuilt_by_the_operators_command,
            Verdict.NOT_RECOVERED,
            "ended well, but instance mosquitto01 is not in project",
        ),
        (
            FromSource("default"),
            runbook.test_service_rebuilt_as_a_copy_of_its_source,
            Verdict.NOT_VERIFIED,
            "there is nothing to copy: ",
        ),
    ],
    ids=["a command that makes nothing", "a source that is not there"],
)
def test_an_instance_that_was_not_made_is_named(rebuilt, provisioner, variant, verdict, why):
    def sabotage(service, lost):
        service.provisioner = provisioner

    drill = rebuilt("mosquitto", sabotage, variant)
    assert drill.verdict is verdict
    assert why in drill.reason
