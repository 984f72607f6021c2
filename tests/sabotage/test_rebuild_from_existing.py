"""The full rebuild from backups that exist, seen red for each of its verifications."""

import shutil
from dataclasses import replace

import pytest

import drills.test_full_rebuild as runbook
import tests.sabotage.acts as acts
from fixtures.evidence.record import Verdict
from fixtures.plugin.collect import Planned
from fixtures.plugin.fixtures import (
    Workplace,
    backup_locations,
    existing_platform_of,
    session_of,
)

NEEDS = ("alertmanager", "atlas-terraform-state")


@pytest.fixture
def drilled(pytestconfig, fleet, drill_project, scratch, tmp_path):
    """Rebuilds a fleet of two services and the state, from files and a platform that are spoiled.

    Mosquitto needs Alertmanager and the state.
    """

    def run(spoil=lambda place: None, sabotage=lambda platform: None):
        stage = session_of(pytestconfig)
        broker = fleet.service("mosquitto").model_copy(update={"depends_on": NEEDS})
        services = (broker, fleet.service("alertmanager"))
        small = fleet.model_copy(update={"services": services})
        where = backup_locations(stage)
        copy = tmp_path / "backups"
        shutil.copytree(where.places[0], copy)
        spoil(copy)
        drill = stage.new_drill(Planned(small, "full-rebuild-with-data", "existing"))
        backups = replace(where, places=(copy,))
        workplace = Workplace(stage, drill, drill_project, scratch)
        platform = existing_platform_of(workplace, small, backups)
        sabotage(platform)
        try:
            return acts.attempt(
                drill, runbook.test_full_rebuild_from_the_backups_that_exist, platform
            )
        finally:
            for member in platform.members.values():
                member.part.remove()

    return run


def test_what_is_not_spoiled_is_recovered_on_one_clock(drilled):
    drill = drilled()
    assert drill.verdict is Verdict.RECOVERED, drill.reason
    members = {member.service: member for member in drill.members}
    assert members.keys() == {"atlas-terraform-state", "mosquitto", "alertmanager"}
    assert (members["mosquitto"].strength, drill.strength) == ("exact", "exact")
    assert members["mosquitto"].backup == "mosquitto01-data.tar.zst"
    assert members["alertmanager"].healthy <= members["mosquitto"].healthy
    assert any("the backups lie" in note for note in drill.notes)


def test_a_damaged_backup_fails_itself_and_what_needs_it(drilled):
    def cut(place):
        (file,) = place.glob("*/alertmanager01-data.tar.zst")
        file.write_bytes(file.read_bytes()[:-9])

    drill = drilled(cut)
    assert drill.verdict is Verdict.NOT_RECOVERED
    faults = {member.service: member.fault for member in drill.members if member.fault}
    assert "alertmanager01-data.tar.zst is not what was written" in faults["alertmanager"]
    assert "not started, it needs alertmanager, which is not back" in faults["mosquitto"]
    assert "atlas-terraform-state" not in faults


def test_a_damaged_state_fails_itself_and_what_needs_it(drilled):
    def cut(place):
        (file,) = place.glob("*/atlas-terraform-state.tar.gz")
        file.write_bytes(file.read_bytes()[:-9])

    drill = drilled(cut)
    assert drill.verdict is Verdict.NOT_RECOVERED
    faults = {member.service: member.fault for member in drill.members if member.fault}
    assert faults.keys() == {"atlas-terraform-state", "mosquitto"}
    assert "it needs atlas-terraform-state, which is not back" in faults["mosquitto"]


def test_wrong_data_of_one_member_is_the_verdict_of_the_whole(drilled):
    def sabotage(platform):
        broker = platform.members["mosquitto"]
        broker.restore, broker.start = broker.service.rebuild, broker.service.start_empty

    drill = drilled(sabotage=sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert {member.service for member in drill.members if member.fault} == {"mosquitto"}


def test_backups_that_lie_too_far_apart_and_a_state_of_other_instances_are_findings(drilled):
    def sabotage(platform):
        platform.skew = 0.0
        state = platform.members["atlas-terraform-state"].bucket
        connect = state._connect

        def connected(keys):
            connect(keys)
            state.subject.list_instances = lambda: {"mosquitto01", "grafana01"}

        state._connect = connected

    drill = drilled(sabotage=sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    broken = acts.broken(drill)
    assert "alertmanager01" in broken["the restored state knows the restored instances"]
    assert "apart, allowed 0 s" in broken["the backups are of about one time"]
