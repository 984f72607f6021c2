"""What a drill needs of the lab, and the order of the drills in it."""

import os
from types import SimpleNamespace

import pytest

from fixtures import process
from fixtures.fleet.load import load_fleet
from fixtures.lab import host
from fixtures.plugin.audits import Planned as Audited
from fixtures.plugin.collect import Planned
from fixtures.plugin.options import DEFAULT_FLEET
from fixtures.plugin.target import Requirements, everything, in_order, merged, requirements_of

ATLAS = load_fleet(DEFAULT_FLEET)
COPIED = ATLAS.provisioned("copy")
[BUCKET] = ATLAS.buckets
ALL, REST = everything(ATLAS), everything(ATLAS, at_once=False)


def item(planned=None, fixtures=("drill_project",)):
    kind = "drill" if isinstance(planned, Planned) else "audit"
    given = {kind: planned} if planned else {}
    callspec = SimpleNamespace(params=given)
    return SimpleNamespace(
        callspec=callspec, fixturenames=fixtures, get_closest_marker=lambda _: None
    )


def drill(name, scenario="snapshot", origin="rehearsal"):
    return Planned(ATLAS.service(name), scenario, origin)


def needs(*images, parts=(), tofu=False):
    return Requirements(frozenset(images), frozenset(parts), tofu)


@pytest.mark.parametrize(
    "planned, needed",
    [
        (drill("mosquitto"), needs("mosquitto")),
        (drill("loki", origin="existing"), needs("loki", parts=["loki"])),
        (Planned(BUCKET, "native", "existing"), needs(parts=[BUCKET.name], tofu=True)),
        (Planned(BUCKET, "native"), needs(tofu=True)),
        (Planned(ATLAS, "full-rebuild"), needs(*ATLAS.images, tofu=True)),
        (Planned(COPIED.service("loki"), "rebuild"), needs("loki", parts=["loki"])),
        (
            Planned(COPIED, "full-rebuild"),
            needs(*COPIED.images, parts=COPIED.images, tofu=True),
        ),
        # Those of the CA's clients, too.
        (drill("step-ca", "key-compromise"), needs("step-ca", "prometheus", "mosquitto")),
        (Audited("backup regime", "loki", ATLAS.service("loki")), needs("loki", parts=["loki"])),
        (Audited("runbook", "runbook"), REST),
        (Audited("backup regime", "fleet"), REST),
        (Audited("programme", "loki"), needs()),
        (Audited("follow-up", "fleet"), needs()),
    ],
)
def test_a_drill_or_an_audit_needs_its_image_and_what_it_reads_of_the_source(planned, needed):
    assert requirements_of(item(planned), ATLAS) == needed
    assert not merged([needed]).at_once


def test_a_test_of_which_nothing_is_known_gets_everything_at_once():
    assert requirements_of(item(), ATLAS) == ALL
    assert requirements_of(item(fixtures=("tmp_path",)), ATLAS) == Requirements()
    assert merged([needs("loki"), ALL]).at_once


def test_what_is_cheap_to_build_is_drilled_first_and_each_image_by_itself():
    expected = [
        drill("mosquitto"),
        drill("mosquitto", "rebuild"),
        drill("mosquitto", origin="existing"),
        *map(drill, ("alertmanager", "prometheus", "grafana", "step-ca")),
        Planned(ATLAS, "full-rebuild"),
        Audited("runbook", "runbook"),
    ]
    items = [item(planned) for planned in expected]
    assert in_order(items[::-1], ATLAS) == items


def test_a_builder_whose_parent_has_ended_does_not_begin():
    """The kernel kills it with its parent only once it was asked to."""
    argv = [*host.dying_with_us(), "echo", "began"]

    def said(*words):
        return process.run(words, timeout=10, env=dict(os.environ)).stdout

    assert said(*argv) == "began\n"
    assert said("sh", "-c", '"$@" & wait', "sh", *argv) == ""
