"""The drills `rebuild`, seen red for each of their verifications."""

from __future__ import annotations

import pytest

import drills.test_rebuild as runbook
import tests.sabotage.acts as acts
from fixtures.errors import DrillError
from fixtures.evidence.verdict import Verdict
from fixtures.recovery.provision import ByCommand, FromSource

body = runbook.test_service_rebuilt_without_its_data


@pytest.fixture
def rebuilt(older, monkeypatch):
    """Runs the drill's body on a sabotaged service and returns its evidence."""
    monkeypatch.setattr("fixtures.recovery.service.HEALTHY_SECONDS", 10.0)
    monkeypatch.setattr("fixtures.recovery.after.SOAK_SECONDS", 0.5)

    def run(name, sabotage, body=body):
        drill, service = older(name, "rebuild")
        stock = service.take_stock()
        sabotage(service, stock)
        try:
            body(drill, service, stock)
        except DrillError as error:
            drill.fail(error)
        drill.look_afterwards()
        return drill.record()

    return run


def keep_the_volume(service, stock):
    """The instance is deleted, its volume forgotten, after all was written to it."""
    service.subject.hang_up()
    service.instance.stop()
    service.instance.delete()


def only_the_instance(service, stock):
    service._create_instance()


def wipe(service, stock):
    path, unit = service.spec.volumes[0].path, service.spec.unit
    script = f"systemctl stop {unit}; find {path} -mindepth 1 -delete; systemctl start {unit}"
    service.subject.hang_up()
    service.instance.must_exec(["sh", "-c", script])


@pytest.mark.parametrize("name", ["prometheus", "alertmanager", "mosquitto", "loki"])
def test_data_that_was_to_be_given_up_and_is_there_is_wrong_data(rebuilt, name):
    def sabotage(service, stock):
        acts.instead("destroy", keep_the_volume)(service, stock)
        acts.instead("rebuild", only_the_instance)(service, stock)

    drill = rebuilt(name, sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "there although written after the backup: " in drill.reason


def test_an_old_snapshot_that_is_put_back_is_wrong_data(rebuilt):
    def old_snapshot(service, stock):
        acts.restore_older_snapshot(service, stock)
        only_the_instance(service, stock)

    def sabotage(service, stock):
        acts.instead("destroy", keep_the_volume)(service, stock)
        acts.instead("rebuild", old_snapshot)(service, stock)

    drill = rebuilt("prometheus", sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "there although written after the backup: " in drill.reason
    assert drill.canaries.unexpected
    assert all('generation="earlier"' in each for each in drill.canaries.unexpected)


def test_an_account_of_before_is_wrong_data(rebuilt):
    def sabotage(service, stock):
        acts.instead("destroy", keep_the_volume)(service, stock)
        acts.instead("rebuild", only_the_instance)(service, stock)

    drill = rebuilt("grafana", sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "refuses the administrator whom it knew before the loss" in drill.reason


def test_a_ca_that_still_has_its_old_key_is_not_rebuilt(rebuilt):
    def sabotage(service, stock):
        acts.instead("destroy", keep_the_volume)(service, stock)
        acts.instead("rebuild", only_the_instance)(service, stock)
        # As it is: no new CA is made over the old one.
        acts.instead("start_empty", lambda s, _: s.start())(service, stock)

    drill = rebuilt("step-ca", sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "there although written after the backup: earlier token" in drill.reason


def test_a_service_that_does_not_keep_what_it_takes_is_wrong_data(rebuilt):
    drill = rebuilt("mosquitto", acts.instead("restart", wipe))
    assert drill.verdict is Verdict.WRONG_DATA
    assert "lost: anew" in drill.reason


def test_a_service_that_is_not_started_is_not_recovered(rebuilt):
    drill = rebuilt("mosquitto", acts.instead("start_empty", acts.nothing))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "instance mosquitto01: Instance is not running" in drill.reason


def test_a_skipped_rebuild_is_not_recovered(rebuilt):
    drill = rebuilt("mosquitto", acts.instead("rebuild", acts.nothing))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "start instance mosquitto01" in drill.reason


def test_what_was_lost_is_told(rebuilt):
    drill = rebuilt("mosquitto", lambda service, stock: None)
    assert drill.verdict is Verdict.RECOVERED
    assert [loss for loss in drill.losses if "retained" in loss]
    assert drill.rpo is None, "what is new did not survive the loss"


def test_a_command_that_makes_nothing_is_not_recovered(rebuilt):
    def sabotage(service, stock):
        service.provisioner = ByCommand(["true"])

    drill = rebuilt("mosquitto", sabotage, runbook.test_service_rebuilt_by_the_operators_command)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "ended well, but instance mosquitto01 is not in project" in drill.reason


def test_a_source_that_is_not_there_is_not_looked_at(rebuilt):
    def sabotage(service, stock):
        service.provisioner = FromSource("default")

    drill = rebuilt("mosquitto", sabotage, runbook.test_service_rebuilt_as_a_copy_of_its_source)
    assert drill.verdict is Verdict.NOT_VERIFIED
    assert "there is nothing to copy: " in drill.reason
