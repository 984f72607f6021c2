"""The drills of the full rebuild, seen red for each of their verifications; a small fleet."""

import pytest

import drills.test_full_rebuild as runbook
import tests.sabotage.acts as acts
from fixtures.evidence.record import Verdict
from fixtures.plugin.collect import Planned
from fixtures.plugin.fixtures import Workplace, platform_of, session_of

WITH_DATA, WITHOUT = "full-rebuild-with-data", "full-rebuild"
BODIES = {
    WITH_DATA: runbook.test_full_rebuild_with_data,
    WITHOUT: runbook.test_full_rebuild_without_data,
}


@pytest.fixture
def drilled(request, fleet, drill_project, scratch, made):
    """Runs a drill's body on a sabotaged platform: some services and the state bucket."""
    stage = session_of(request.config)

    def run(scenario, sabotage, *names):
        services = tuple(fleet.service(name) for name in names)
        small = fleet.model_copy(update={"services": services})
        drill = stage.new_drill(Planned(small, scenario))
        platform = platform_of(Workplace(stage, drill, drill_project, scratch), small)
        made.append(platform)
        platform.deploy()
        backups = platform.back_up() if scenario == WITH_DATA else platform.note_loss()
        sabotage(platform)
        return acts.attempt(drill, BODIES[scenario], platform, backups)

    return run


def test_a_rebuild_that_is_not_spoiled_is_recovered_member_by_member(drilled):
    drill = drilled(WITH_DATA, acts.nothing, "mosquitto", "alertmanager")
    acts.must_be(drill, Verdict.RECOVERED)
    names = {member.service for member in drill.members}
    assert names == {"atlas-terraform-state", "mosquitto", "alertmanager"}
    assert all(m.healthy and m.verified and m.healthy <= m.verified for m in drill.members)


def test_one_empty_volume_and_a_bucket_without_its_state_are_wrong_data_and_named(drilled):
    def sabotage(platform):
        acts.skip(platform.services["mosquitto"], "replace_volume")
        (bucket,) = platform.buckets.values()
        forget = acts.after("restore_state", lambda _: bucket.subject.s3.delete(bucket.spec.key))
        forget(platform)

    drill = drilled(WITH_DATA, sabotage, "mosquitto", "alertmanager")
    acts.must_be(drill, Verdict.WRONG_DATA, "canaries: lost: ", "mosquitto")
    assert "alertmanager" not in drill.reason
    faulty = {member.service for member in drill.members if member.fault}
    assert faulty == {"atlas-terraform-state", "mosquitto"}


def started_too_early(platform):
    in_order = platform.in_order

    def all_at_once(begin):
        in_order(begin)
        platform.needs["mosquitto"] = ["alertmanager"]

    platform.in_order = all_at_once


ROWS = [
    (started_too_early, "started before what it needs was healthy: mosquitto", "alertmanager"),
    (acts.instead("restore_state", acts.nothing), "NoSuchBucket"),
    (acts.instead("destroy", acts.nothing), "already "),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_a_step_that_was_not_made_as_it_must_be_is_not_recovered(drilled, row):
    sabotage, why, *more = row
    drill = drilled(WITH_DATA, sabotage, "mosquitto", *more)
    acts.must_be(drill, Verdict.NOT_RECOVERED, why)


def test_data_that_was_to_be_given_up_and_is_there_is_wrong_data(drilled):
    def sabotage(platform):
        service = platform.services["mosquitto"]
        tarball = service.back_up("tarball")
        acts.after("apply", lambda _: service.replace_volume(tarball))(platform)

    drill = drilled(WITHOUT, sabotage, "mosquitto")
    acts.must_be(drill, Verdict.WRONG_DATA, "there although written after the backup")
