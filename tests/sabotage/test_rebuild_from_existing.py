"""The full rebuild from backups that exist, seen red for each of its verifications."""

import pytest

import drills.test_full_rebuild as runbook
import tests.sabotage.acts as acts
from fixtures.evidence.record import Verdict
from fixtures.plugin.collect import Planned
from fixtures.plugin.fixtures import Workplace, existing_platform_of, session_of

NEEDS = ("alertmanager", "atlas-terraform-state")


@pytest.fixture
def drilled(pytestconfig, fleet, drill_project, scratch, place):
    """Rebuilds a fleet of two services and the state, from files and a platform that are spoiled.

    Mosquitto needs Alertmanager and the state.
    """

    def run(sabotage=acts.nothing):
        stage = session_of(pytestconfig)
        broker = fleet.service("mosquitto").model_copy(update={"depends_on": NEEDS})
        small = {"services": (broker, fleet.service("alertmanager"))}
        planned = Planned(fleet.model_copy(update=small), "full-rebuild-with-data", "existing")
        drill = stage.new_drill(planned)
        workplace = Workplace(stage, drill, drill_project, scratch)
        platform = existing_platform_of(workplace, planned.subject, place)
        sabotage(platform)
        try:
            body = runbook.test_full_rebuild_from_the_backups_that_exist
            return acts.attempt(drill, body, platform)
        finally:
            for member in platform.members.values():
                member.part.remove()

    return run


def test_what_is_not_spoiled_is_recovered_on_one_clock(drilled):
    drill = drilled()
    acts.must_be(drill, Verdict.RECOVERED)
    members = {member.service: member for member in drill.members}
    assert members.keys() == {"atlas-terraform-state", "mosquitto", "alertmanager"}
    assert (members["mosquitto"].strength, drill.strength) == ("exact", "exact")
    assert members["mosquitto"].backup == "mosquitto01-data.tar.zst"
    assert members["alertmanager"].healthy <= members["mosquitto"].healthy
    assert any("the backups lie" in note for note in drill.notes)


@pytest.mark.parametrize("name", NEEDS)
def test_a_damaged_backup_fails_itself_and_what_needs_it(drilled, place, name):
    (file,) = place.places[0].glob(f"*/{name}*.tar.*[tz]")
    file.write_bytes(file.read_bytes()[:-9])
    drill = drilled()
    assert drill.verdict is Verdict.NOT_RECOVERED
    faults = {member.service: member.fault for member in drill.members if member.fault}
    assert faults.keys() == {name, "mosquitto"}
    assert f"{file.name} is not what was written" in faults[name]
    assert f"not started, it needs {name}, which is not back" in faults["mosquitto"]


def test_wrong_data_of_one_member_is_the_verdict_of_the_whole(drilled):
    def sabotage(platform):
        broker = platform.members["mosquitto"]
        broker.restore, broker.start = broker.service.rebuild, broker.service.start_empty

    drill = drilled(sabotage)
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

    drill = drilled(sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    broken = acts.broken(drill)
    assert "alertmanager01" in broken["the restored state knows the restored instances"]
    assert "apart, allowed 0 s" in broken["the backups are of about one time"]
