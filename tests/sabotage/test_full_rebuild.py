"""The drills of the full rebuild, seen red for each of their verifications; a fleet of two."""

from __future__ import annotations

from graphlib import TopologicalSorter

import pytest

import drills.test_full_rebuild as runbook
from fixtures.errors import DrillError
from fixtures.evidence.verdict import Verdict

WITH_DATA, WITHOUT = "full-rebuild-with-data", "full-rebuild"
BODIES = {
    WITH_DATA: runbook.test_full_rebuild_with_data,
    WITHOUT: runbook.test_full_rebuild_without_data,
}


@pytest.fixture
def drilled(make_platform, monkeypatch):
    """Runs a drill's body on a sabotaged platform and returns its evidence."""
    monkeypatch.setattr("fixtures.recovery.service.HEALTHY_SECONDS", 12.0)
    monkeypatch.setattr("fixtures.recovery.after.SOAK_SECONDS", 0.5)
    monkeypatch.setattr("fixtures.recovery.bucket.HEALTHY_SECONDS", 4.0)

    def run(scenario, sabotage):
        drill, platform = make_platform(scenario, "mosquitto", "alertmanager")
        keep = platform.back_up if scenario == WITH_DATA else platform.take_stock
        backups = keep()
        sabotage(platform, backups)
        try:
            BODIES[scenario](drill, platform, backups)
        except DrillError as error:
            drill.fail(error)
        drill.look_afterwards()
        return drill.record()

    return run


def skip(verb):
    def sabotage(platform, backups):
        setattr(platform, verb, lambda *_: None)

    return sabotage


def test_a_sane_rebuild_is_recovered_member_by_member(drilled):
    drill = drilled(WITH_DATA, lambda *_: None)
    assert drill.verdict is Verdict.RECOVERED, drill.reason
    assert {m.service for m in drill.members} == {
        "atlas-terraform-state",
        "mosquitto",
        "alertmanager",
    }
    assert all(m.healthy and m.verified and m.healthy <= m.verified for m in drill.members)


def test_volumes_that_are_not_restored_are_wrong_data(drilled):
    drill = drilled(WITH_DATA, skip("restore_volumes"))
    assert drill.verdict is Verdict.WRONG_DATA
    assert "service mosquitto came back with other data" in drill.reason
    assert "service alertmanager came back with other data" in drill.reason


def test_one_empty_volume_of_many_is_wrong_data_and_named(drilled):
    def sabotage(platform, backups):
        platform.services["mosquitto"].replace_volume = lambda _: None

    drill = drilled(WITH_DATA, sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "mosquitto" in drill.reason and "alertmanager" not in drill.reason
    faults = {member.service: bool(member.fault) for member in drill.members}
    assert faults == {"atlas-terraform-state": False, "mosquitto": True, "alertmanager": False}


def test_one_service_that_is_not_started_is_not_recovered(drilled):
    def sabotage(platform, backups):
        platform.services["mosquitto"].start = lambda: None

    drill = drilled(WITH_DATA, sabotage)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "mosquitto01" in drill.reason


def test_a_service_that_is_started_before_what_it_needs_is_not_recovered(drilled):
    def sabotage(platform, backups):
        platform.needs["mosquitto"] = ["alertmanager"]
        platform._order = lambda: TopologicalSorter({"mosquitto": (), "alertmanager": ()})

    drill = drilled(WITH_DATA, sabotage)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "started before what it needs was healthy: mosquitto" in drill.reason


def test_a_state_that_is_not_restored_is_not_recovered(drilled):
    drill = drilled(WITH_DATA, skip("restore_state"))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "-state healthy: not within" in drill.reason
    assert "NoSuchBucket" in drill.reason


def test_a_bucket_without_its_state_is_wrong_data(drilled):
    def sabotage(platform, backups):
        whole = platform.restore_state

        def spoiled(_):
            whole(backups)
            for bucket in platform.buckets.values():
                bucket.subject.s3.delete(bucket.spec.key)

        platform.restore_state = spoiled

    drill = drilled(WITH_DATA, sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "canaries: lost: " in drill.reason and "mosquitto" not in drill.reason
    faults = {member.service: bool(member.fault) for member in drill.members}
    assert faults == {"atlas-terraform-state": True, "mosquitto": False, "alertmanager": False}


@pytest.mark.parametrize("scenario", [WITH_DATA, WITHOUT])
def test_a_member_that_nobody_rebuilds_leaves_the_whole_unproven(drilled, scenario):
    def sabotage(platform, backups):
        whole = platform.destroy

        def spoiled():
            whole()
            del platform.services["mosquitto"]

        platform.destroy = spoiled

    drill = drilled(scenario, sabotage)
    assert drill.verdict is Verdict.NOT_VERIFIED
    assert "not the whole fleet: without mosquitto" in drill.reason


def test_a_loss_that_did_not_happen_is_not_recovered(drilled):
    drill = drilled(WITH_DATA, skip("destroy"))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "already exists" in drill.reason or "already in use" in drill.reason


def test_a_service_that_is_left_out_leaves_the_whole_unproven(drilled):
    def sabotage(platform, backups):
        platform.left_out.append("loki")

    drill = drilled(WITH_DATA, sabotage)
    assert drill.verdict is Verdict.NOT_VERIFIED
    assert "not the whole fleet: without loki" in drill.reason


def test_data_that_was_to_be_given_up_and_is_there_is_wrong_data(drilled):
    def sabotage(platform, stocks):
        tarballs = {name: one.back_up("tarball") for name, one in platform.services.items()}
        whole = platform.apply

        def spoiled():
            whole()
            for name, service in platform.services.items():
                service.replace_volume(tarballs[name])

        platform.apply = spoiled

    drill = drilled(WITHOUT, sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "there although written after the backup" in drill.reason
