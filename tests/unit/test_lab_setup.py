"""What a drill needs of the lab, and the order of the drills in it."""

from types import SimpleNamespace

import pytest

from fixtures.fleet.load import load_fleet
from fixtures.plugin.audits import Planned as Audited
from fixtures.plugin.collect import Planned
from fixtures.plugin.options import ROOT
from fixtures.plugin.target import (
    Requirements,
    everything,
    in_order,
    merged_requirements,
    requirements_of,
    requirements_of_drill,
)


@pytest.fixture(scope="module")
def atlas():
    return load_fleet(ROOT / "fleets" / "atlas.yaml")


def item(drill=None, fixtures=("drill_project",), **params):
    given = {**params, **({"drill": drill} if drill else {})}
    return SimpleNamespace(
        callspec=SimpleNamespace(params=given),
        fixturenames=fixtures,
        get_closest_marker=lambda _: None,
    )


def test_a_rehearsal_needs_its_image_and_nothing_of_the_source(atlas):
    needs = requirements_of_drill(Planned(atlas.service("mosquitto"), "snapshot"), atlas)
    assert needs == Requirements(images=frozenset({"mosquitto"}))


def test_a_drill_of_an_existing_backup_needs_that_part_of_the_source(atlas):
    needs = requirements_of_drill(Planned(atlas.service("loki"), "snapshot", "existing"), atlas)
    assert needs == Requirements(images=frozenset({"loki"}), parts=frozenset({"loki"}))
    [bucket] = atlas.buckets
    needs = requirements_of_drill(Planned(bucket, "native", "existing"), atlas)
    assert needs == Requirements(parts=frozenset({bucket.name}), tofu=True)


def test_a_copy_needs_its_source(atlas):
    copied = atlas.service("loki").model_copy(update={"provision": "copy"})
    needs = requirements_of_drill(Planned(copied, "rebuild", variant="copy"), atlas)
    assert needs.parts == {"loki"}
    made = atlas.provisioned("copy")
    assert requirements_of_drill(Planned(made, "full-rebuild"), made).parts == set(made.images)


def test_only_what_has_a_state_needs_opentofu(atlas):
    [bucket] = atlas.buckets
    whole = requirements_of_drill(Planned(atlas, "full-rebuild"), atlas)
    assert whole == Requirements(images=frozenset(atlas.images), tofu=True)
    assert requirements_of_drill(Planned(bucket, "native"), atlas) == Requirements(tofu=True)


def test_a_leaked_key_needs_the_clients_of_the_ca(atlas):
    needs = requirements_of_drill(Planned(atlas.service("step-ca"), "key-compromise"), atlas)
    assert needs.images == {"step-ca", "prometheus", "mosquitto"}
    assert needs.parts == set()


def test_audits_need_what_they_look_at(atlas):
    regime = item(audit=Audited("backup regime", "loki", atlas.service("loki")))
    assert requirements_of(regime, atlas) == Requirements(frozenset({"loki"}), frozenset({"loki"}))
    runbook = requirements_of(item(audit=Audited("runbook", "runbook")), atlas)
    assert runbook == everything(atlas, at_once=False)
    whole = requirements_of(item(audit=Audited("backup regime", "fleet")), atlas)
    assert whole == everything(atlas, at_once=False)


def test_a_test_of_which_nothing_is_known_gets_everything_at_once(atlas):
    assert requirements_of(item(), atlas) == everything(atlas)
    assert requirements_of(item(fixtures=("tmp_path",)), atlas) == Requirements()
    known = item(Planned(atlas.service("loki"), "snapshot"))
    assert merged_requirements([known, item()], atlas).at_once
    assert not merged_requirements([known], atlas).at_once


def test_what_is_cheap_to_build_is_drilled_first_and_each_image_by_itself(atlas):
    def drill(name, scenario="snapshot", origin="rehearsal"):
        return item(Planned(atlas.service(name), scenario, origin))

    rebuild, snapshot = drill("mosquitto", "rebuild"), drill("mosquitto")
    existing, broker = drill("mosquitto", origin="existing"), drill("alertmanager")
    whole = item(Planned(atlas, "full-rebuild"))
    runbook = item(audit=Audited("runbook", "runbook"))
    ca, metrics, board = drill("step-ca"), drill("prometheus"), drill("grafana")
    given = [runbook, whole, ca, board, metrics, broker, rebuild, existing, snapshot]
    expected = [snapshot, rebuild, existing, broker, metrics, board, ca, whole, runbook]
    assert in_order(given, atlas) == expected
    assert merged_requirements(given, atlas).tofu
