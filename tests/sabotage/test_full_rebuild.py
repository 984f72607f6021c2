"""The drills of the full rebuild, seen red for each of their verifications; a fleet of two."""

import pytest

import drills.test_full_rebuild as runbook
import tests.sabotage.acts as acts
from fixtures.evidence.record import Verdict

WITH_DATA, WITHOUT = "full-rebuild-with-data", "full-rebuild"
BODIES = {
    WITH_DATA: runbook.test_full_rebuild_with_data,
    WITHOUT: runbook.test_full_rebuild_without_data,
}


@pytest.fixture
def drilled(make_platform):
    """Runs a drill's body on a sabotaged platform and returns its evidence."""

    def run(scenario, sabotage):
        drill, platform = make_platform(scenario, "mosquitto", "alertmanager")
        backups = platform.back_up() if scenario == WITH_DATA else platform.note_loss()
        sabotage(platform, backups)
        return acts.attempt(drill, BODIES[scenario], platform, backups)

    return run


def after(platform, verb, act):
    """Let a step do its work, then act."""
    whole = getattr(platform, verb)

    def spoiled(*arguments):
        whole(*arguments)
        act()

    setattr(platform, verb, spoiled)


def skip(verb):
    return lambda platform, backups: acts.skip(platform, verb)


def faulty(drill):
    return {member.service for member in drill.members if member.fault}


def test_a_rebuild_that_is_not_spoiled_is_recovered_member_by_member(drilled):
    drill = drilled(WITH_DATA, lambda *_: None)
    assert drill.verdict is Verdict.RECOVERED, drill.reason
    names = {member.service for member in drill.members}
    assert names == {"atlas-terraform-state", "mosquitto", "alertmanager"}
    assert all(m.healthy and m.verified and m.healthy <= m.verified for m in drill.members)


def test_one_empty_volume_and_a_bucket_without_its_state_are_wrong_data_and_named(drilled):
    def sabotage(platform, backups):
        acts.skip(platform.services["mosquitto"], "replace_volume")
        (bucket,) = platform.buckets.values()
        after(platform, "restore_state", lambda: bucket.subject.s3.delete(bucket.spec.key))

    drill = drilled(WITH_DATA, sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "canaries: lost: " in drill.reason
    assert "mosquitto" in drill.reason and "alertmanager" not in drill.reason
    assert faulty(drill) == {"atlas-terraform-state", "mosquitto"}


def started_too_early(platform, backups):
    in_order = platform.in_order

    def all_at_once(begin):
        in_order(begin)
        platform.needs["mosquitto"] = ["alertmanager"]

    platform.in_order = all_at_once


@pytest.mark.parametrize(
    ("sabotage", "why"),
    [
        (started_too_early, "started before what it needs was healthy: mosquitto"),
        (skip("restore_state"), "NoSuchBucket"),
        (skip("destroy"), "already "),
    ],
    ids=["started too early", "no state", "no loss"],
)
def test_a_step_that_was_not_made_as_it_must_be_is_not_recovered(drilled, sabotage, why):
    drill = drilled(WITH_DATA, sabotage)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert why in drill.reason


def test_data_that_was_to_be_given_up_and_is_there_is_wrong_data(drilled):
    def sabotage(platform, lost):
        tarballs = {name: each.back_up("tarball") for name, each in platform.services.items()}

        def restore_all():
            for name, service in platform.services.items():
                service.replace_volume(tarballs[name])

        after(platform, "apply", restore_all)

    drill = drilled(WITHOUT, sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "there although written after the backup" in drill.reason
