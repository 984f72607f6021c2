"""Projects that the operator lends: changed inside, never themselves, and only while closed."""

from __future__ import annotations

import pytest

from fixtures.incus.guard import (
    MARKER_KEY,
    REQUIRED,
    SCOPED,
    STANDING_KEY,
    DrillPolicy,
    GuardAdapter,
    ReadPolicy,
)
from tests.guard import wire as wires
from tests.guard.test_every_route import TEMPLATES, VERBS, paths
from tests.guard.wire import BASE, OURS, RUN, is_refused, prepared

LENT = {**REQUIRED, STANDING_KEY: "true"}
OPEN = {f"without {key}": {k: v for k, v in LENT.items() if k != key} for key in [*REQUIRED]} | {
    "no marker of the operator": dict(REQUIRED),
    "another marker": {**LENT, STANDING_KEY: "yes"},
    "a run's own marker alone": {**REQUIRED, MARKER_KEY: RUN},
    "a NIC": {**LENT, "restricted.devices.nic": "allow"},
    "any disk": {**LENT, "restricted.devices.disk": "allow"},
    "privileged": {**LENT, "restricted.containers.privilege": "allow"},
    "lowlevel": {**LENT, "restricted.containers.lowlevel": "allow"},
}
START = ("PUT", "/1.0/instances/c1/state?project=drill-lent", {"action": "start"})


@pytest.fixture
def lent(monkeypatch):
    """Makes the lent project one of this configuration."""

    def be(config):
        monkeypatch.setitem(wires.PROJECTS, "drill-lent", config)

    be(dict(LENT))
    return be


@pytest.fixture
def lending(wire, lent):
    return GuardAdapter(wire, BASE, DrillPolicy(RUN, ["drill-lent", "atlas"]))


def test_inside_a_lent_project_drills_may_work(lending, wire):
    assert not is_refused(lending, prepared(*START))
    assert len(wire.sent) == 1


def test_nobody_may_work_in_it_who_was_not_lent_it(guard, wire, lent):
    assert is_refused(guard, prepared(*START))
    assert wire.sent == []


@pytest.mark.parametrize("config", OPEN.values(), ids=OPEN.keys())
def test_a_lent_project_that_is_open_is_refused(lending, wire, lent, config):
    lent(config)
    assert is_refused(lending, prepared(*START))
    assert wire.sent == []


def test_a_source_is_no_drill_project_though_it_were_lent(lending, wire, monkeypatch):
    monkeypatch.setitem(wires.PROJECTS, "atlas", dict(LENT))
    assert is_refused(lending, prepared(START[0], "/1.0/instances/c1/state?project=atlas"))
    assert wire.sent == []


@pytest.mark.parametrize("verb", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("config", [LENT, {**LENT, MARKER_KEY: RUN}], ids=["lent", "both"])
def test_the_project_itself_is_the_operators(lending, wire, lent, verb, config):
    lent(config)
    assert is_refused(lending, prepared(verb, "/1.0/projects/drill-lent", {"config": config}))
    assert wire.sent == []


def test_a_project_of_the_run_is_as_before(lending, wire):
    assert not is_refused(lending, prepared("DELETE", f"/1.0/projects/{OURS}?force=true"))


def test_of_every_route_only_the_whitelist_passes_in_it(lending, wire):
    for template in TEMPLATES:
        for path in paths(template):
            for verb in VERBS:
                lending.policy.refusals.clear()
                passed = not is_refused(lending, prepared(verb, f"{path}?project=drill-lent"))
                own = any(r.pattern.fullmatch(path) and verb in r.verbs for r in SCOPED)
                assert passed is own, f"{verb} {path}"
    assert wire.sent


def test_a_reader_changes_nothing_anywhere(wire, lent):
    reading = GuardAdapter(wire, BASE, ReadPolicy())
    for template in TEMPLATES:
        for path in paths(template):
            for verb in VERBS:
                for project in (OURS, "drill-lent", "atlas"):
                    assert is_refused(reading, prepared(verb, f"{path}?project={project}"))
    assert wire.sent == []
    assert is_refused(reading, prepared("GET", "/1.0/storage-pools/p/buckets/b/keys?project=atlas"))
    assert not is_refused(reading, prepared("GET", "/1.0/instances?project=atlas&recursion=1"))
