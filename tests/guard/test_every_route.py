"""Every verb against every route of Incus: no change leaves the guard that is not ours.

The routes are those of the API's description in 6.0 (made by `make_routes.py`) and those that
7.0's code adds. The wire is a recorder; the server itself is asked in `tests/lab/`.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from fixtures.errors import GuardRefused
from fixtures.incus.guard import (
    MARKER_KEY,
    READS,
    REQUIRED,
    SCOPED,
    GuardAdapter,
    OwnServerPolicy,
    ReadPolicy,
    scoped_route,
)
from tests.guard.wire import BASE, CLOSED, OURS, PROJECTS, is_refused, prepared

VERBS = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "post"]
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def data_lines(name):
    """The lines of a data file but for its comments."""
    return [line for line in (HERE / name).read_text().splitlines() if not line.startswith("#")]


DESCRIBED = [tuple(line.split()) for line in data_lines("routes-6.0.txt")]
TEMPLATES = sorted({*data_lines("paths.txt"), *(path for _, path in DESCRIBED)})
FOREIGN = [
    "",
    "?project=default",
    "?project=atlas",
    "?project=drill-unmarked",
    "?project=drill-other",
    "?project=drill-empty-marker",
    "?project=drill-gone",
    "?project=Drill-x",
    "?project=drilled",
    "?project=drill-",
    "?project=drill-x%2F..%2Fdefault",
    "?project=drill-x%00",
    f"?project={quote(OURS + 'é')}",
    f"?project={OURS}&project=default",
    f"?project=default&project={OURS}",
    f"?project={OURS}&project={OURS}",
    f"?project={OURS}&all-projects=true",
    f"?Project={OURS}",
    f"?project={OURS};project=default",
]


def paths(template):
    """The path with names in it, the storage volume ones for each type."""
    kinds = ["custom", "container", "virtual-machine", "image"] if "{type}" in template else [""]
    return [re.sub(r"\{[A-Za-z_]+\}", "local", template.replace("{type}", kind)) for kind in kinds]


@pytest.mark.parametrize("query", FOREIGN)
def test_no_change_reaches_a_foreign_project(guard, wire, query):
    for template in TEMPLATES:
        for path in paths(template):
            for verb in VERBS:
                assert is_refused(guard, prepared(verb, path + query)), f"{verb} {path}{query}"
    assert wire.sent == []
    assert len(guard.policy.refusals) > 800


def test_in_our_own_project_only_the_whitelist_passes(guard, wire):
    for template in TEMPLATES:
        for path in paths(template):
            for verb in VERBS:
                route = scoped_route(path)
                allowed = route is not None and verb in route.verbs
                request = prepared(verb, f"{path}?project={OURS}")
                assert is_refused(guard, request) is not allowed, f"{verb} {path}"
    assert len(wire.sent) >= len(SCOPED)
    assert all(f"project={OURS}" in url for _, url in wire.sent)


def test_every_described_change_without_a_project_is_refused(guard, wire):
    for verb, template in DESCRIBED:
        if verb in READS:
            continue
        for path in paths(template):
            assert is_refused(guard, prepared(verb, path)), f"{verb} {path}"
    assert wire.sent == []
    assert len(DESCRIBED) > 200


@pytest.mark.parametrize("route", ["images", "networks", "certificates", "operations/x"])
def test_what_belongs_to_the_server_is_never_changed(guard, route):
    for verb in VERBS:
        assert is_refused(guard, prepared(verb, f"/1.0/{route}?project={OURS}"))


@pytest.mark.parametrize("template", TEMPLATES)
def test_reads_pass_unless_they_open_a_way_to_write(guard, template):
    for path in paths(template):
        opens = (
            re.search(r"/(sftp|nbd|websocket|exec|console|debug/memory)$|/buckets/.*/keys", path)
            is not None
        )
        for verb in ("GET", "HEAD"):
            opens = opens or not re.fullmatch(r"/|/1\.0(/.*)?", path)
            assert is_refused(guard, prepared(verb, f"{path}?project=atlas")) is opens


@pytest.mark.parametrize(
    "feature", ["features.profiles", "features.storage.volumes", "features.storage.buckets"]
)
def test_without_a_feature_the_objects_would_be_those_of_default(guard, monkeypatch, feature):
    path = {
        "features.profiles": "/1.0/profiles/default",
        "features.storage.volumes": "/1.0/storage-pools/local/volumes/custom/grafana01-data",
        "features.storage.buckets": "/1.0/storage-pools/terraform-state/buckets/atlas",
    }[feature]
    monkeypatch.setitem(PROJECTS, OURS, {**CLOSED, feature: "false"})
    with pytest.raises(GuardRefused, match="this would change project default"):
        guard.send(prepared("DELETE", f"{path}?project={OURS}"))


@pytest.mark.parametrize(
    "path",
    [
        "/1.0/instances/../projects/default",
        "/1.0/instances/%2e%2e/x",
        "/1.0/instances/..",
        "/1.0/instances/.",
        "/1.0/instances/a%2Fb",
        "/1.0//instances/x",
        "/1.0/instances/x;y",
        "/1.0/instances/x/",
        "/1.0/instances/x#y",
        "/2.0/instances/x",
        "/1.0/../internal/shutdown",
    ],
)
def test_a_path_with_two_readings_is_refused(guard, wire, path):
    request = prepared("DELETE", "/1.0/x")
    request.url = f"{BASE}{path}?project={OURS}"
    assert is_refused(guard, request)
    assert wire.sent == []


@pytest.mark.parametrize(
    "url",
    [
        f"http+unix://%2Fother.socket/1.0/instances/x?project={OURS}",
        f"https://incus.example:8443/1.0/instances/x?project={OURS}",
        f"{BASE}.evil/1.0/instances/x?project={OURS}",
    ],
)
def test_another_server_is_refused(guard, url):
    request = prepared("GET", "/1.0")
    request.url = url
    with pytest.raises(GuardRefused, match="another server"):
        guard.send(request)


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Override", "X-Incus-Project"])
def test_a_header_that_changes_the_meaning_is_refused(guard, header):
    request = prepared("POST", f"/1.0/instances?project={OURS}", {}, {header: "DELETE"})
    with pytest.raises(GuardRefused, match="header"):
        guard.send(request)


BODIES = {
    "moved to another project": {"project": "default"},
    "migrated": {"name": "x", "migration": True},
    "pushed": {"source": {"type": "migration", "mode": "push"}},
    "sent to a target": {"target": {"operation": "x"}},
    "a NIC": {"devices": {"eth0": {"type": "nic", "network": "incusbr0"}}},
    "a disk of the host": {"devices": {"d": {"type": "disk", "source": "/", "path": "/host"}}},
    "a disk with a path and a pool": {
        "devices": {"d": {"type": "disk", "source": "/etc", "pool": "local", "path": "/e"}}
    },
    "a disk without a pool": {"devices": {"d": {"type": "disk", "path": "/e", "source": "x"}}},
    "a proxy": {"devices": {"p": {"type": "proxy", "listen": "tcp:0.0.0.0:80"}}},
    "a unix device": {"devices": {"k": {"type": "unix-char", "path": "/dev/kvm"}}},
    "raw config": {"config": {"raw.lxc": "lxc.hook.pre-start = /bin/sh"}},
    "a privileged container": {"config": {"security.privileged": "true"}},
    "devices that are no map": {"devices": ["eth0"]},
    "config that is no map": {"config": "raw.lxc"},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "/1.0/instances"),
        ("PUT", "/1.0/instances/x"),
        ("PATCH", "/1.0/instances/x"),
        ("PUT", "/1.0/profiles/default"),
        ("PUT", "/1.0/storage-pools/local/volumes/custom/x"),
    ],
)
def test_a_body_that_reaches_out_is_refused(guard, wire, verb, path, body):
    assert is_refused(guard, prepared(verb, f"{path}?project={OURS}", body))
    assert wire.sent == []


@pytest.mark.parametrize("body", [b"not json", b"[1]", b'"x"', iter([b"{}"])])
def test_a_body_that_cannot_be_read_is_refused(guard, body):
    request = prepared("PUT", f"/1.0/instances/x?project={OURS}")
    request.body = body
    assert is_refused(guard, request)


GOOD = {"name": OURS, "config": dict(CLOSED)}


def test_our_project_is_created_changed_and_deleted(guard, wire):
    guard.send(prepared("POST", "/1.0/projects", GOOD))
    guard.send(prepared("PUT", f"/1.0/projects/{OURS}", {"config": dict(CLOSED)}))
    guard.send(prepared("PATCH", f"/1.0/projects/{OURS}", {"config": {"user.x": "y"}}))
    guard.send(prepared("DELETE", f"/1.0/projects/{OURS}"))
    assert [verb for verb, _ in wire.sent] == ["POST", "PUT", "PATCH", "DELETE"]


@pytest.mark.parametrize("key", [MARKER_KEY, *REQUIRED])
def test_a_project_that_is_no_closed_room_is_not_made(guard, key):
    for config in (
        {**CLOSED, key: "false"},
        {name: value for name, value in CLOSED.items() if name != key},
    ):
        with pytest.raises(GuardRefused, match=re.escape(key)):
            guard.send(prepared("POST", "/1.0/projects", {"name": OURS, "config": config}))
        with pytest.raises(GuardRefused, match=re.escape(key)):
            guard.send(prepared("PUT", f"/1.0/projects/{OURS}", {"config": config}))
    with pytest.raises(GuardRefused, match=re.escape(key)):
        guard.send(prepared("PATCH", f"/1.0/projects/{OURS}", {"config": {key: "x"}}))


@pytest.mark.parametrize("name", ["default", "atlas", "drill-", "Drill-x", "drill-x/../y", None, 7])
def test_a_project_by_another_name_is_not_made(guard, name):
    with pytest.raises(GuardRefused, match="is no drill project by its name"):
        guard.send(prepared("POST", "/1.0/projects", {**GOOD, "name": name}))


@pytest.mark.parametrize("project", ["default", "atlas", "drill-unmarked", "drill-other"])
def test_a_foreign_project_is_never_deleted_or_renamed(guard, wire, project):
    for verb in ("POST", "PUT", "PATCH", "DELETE"):
        assert is_refused(guard, prepared(verb, f"/1.0/projects/{project}", {"config": {}}))
    assert is_refused(guard, prepared("POST", f"/1.0/projects/{OURS}", {"name": "default"}))
    assert wire.sent == []


def test_a_dead_runs_project_is_changed_only_when_adopted_and_marked(guard, wire):
    guard.policy.adopt("drill-other")
    guard.send(prepared("DELETE", "/1.0/projects/drill-other"))
    guard.policy.adopt("drill-unmarked")
    assert is_refused(guard, prepared("DELETE", "/1.0/projects/drill-unmarked"))
    with pytest.raises(GuardRefused, match="is no drill project"):
        guard.policy.adopt("default")
    assert len(wire.sent) == 1


def test_a_copy_from_the_source_is_a_read_of_it(guard, wire):
    source = {"type": "copy", "name": "grafana01-data", "pool": "local", "project": "atlas"}
    path = f"/1.0/storage-pools/local/volumes/custom?project={OURS}"
    guard.send(prepared("POST", path, {"name": "grafana01-data", "source": source}))
    assert len(wire.sent) == 1


INSTANCE = {"type": "copy", "source": "grafana01", "project": "atlas", "instance_only": True}


@pytest.mark.parametrize(
    "inconsistent", [{}, {"allow_inconsistent": False}, {"allow_inconsistent": "true"}]
)
def test_a_copy_that_may_freeze_its_source_is_refused(guard, wire, inconsistent):
    path = f"/1.0/instances?project={OURS}"
    assert is_refused(guard, prepared("POST", path, {"source": {**INSTANCE, **inconsistent}}))
    assert wire.sent == []
    allowed = (
        {**INSTANCE, "allow_inconsistent": True},
        {**INSTANCE, "source": "grafana01/yesterday"},
        {**INSTANCE, "project": OURS},
    )
    for source in allowed:
        guard.send(prepared("POST", path, {"name": "grafana01", "source": source}))
    assert len(wire.sent) == 3


@pytest.mark.parametrize("query", ["", f"?project={OURS}", "?project=atlas"])
def test_whoever_only_reads_changes_nothing_anywhere(wire, query):
    """The policy of `./run observe`, and of a reader: no verb but GET and HEAD, on no route."""
    reading = GuardAdapter(wire, BASE, ReadPolicy())
    for template in TEMPLATES:
        for path in paths(template):
            for verb in VERBS:
                assert is_refused(reading, prepared(verb, path + query)), f"{verb} {path}{query}"
    assert wire.sent == []


@pytest.mark.parametrize("path", ["exec", "console", "sftp"])
def test_whoever_only_reads_opens_no_way_to_write(wire, path):
    reading = GuardAdapter(wire, BASE, ReadPolicy())
    assert is_refused(reading, prepared("GET", f"/1.0/instances/x/{path}?project=atlas"))
    reading.send(prepared("GET", "/1.0/instances/x/files?path=/etc/hostname&project=atlas"))
    assert len(wire.sent) == 1


def test_there_are_three_policies():
    """Reading, a drill project of the run, the lab: a fourth would be a hole to look at."""
    found = {
        node.name
        for file in (ROOT / "fixtures").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(getattr(one, "name", "") == "must_allow" for one in node.body)
    }
    assert found == {"Policy", "ReadPolicy", "DrillPolicy", "OwnServerPolicy"}


def test_only_the_lab_writes_outside_of_drill_projects():
    """Who takes the policy that allows all: what fills the lab, and nobody else."""
    users = {
        str(file.relative_to(ROOT / "fixtures"))
        for file in (ROOT / "fixtures").rglob("*.py")
        if "OwnServerPolicy(" in file.read_text() and file.name != "guard.py"
    }
    assert users == {"recovery/source.py", "plugin/lab_setup.py"}
    # And the operator's script, which only the lab's own shell is handed.
    starters = {
        str(file.relative_to(ROOT / "fixtures"))
        for file in (ROOT / "fixtures").rglob("*.py")
        if "atlas-backup.sh" in file.read_text() and "subprocess" in file.read_text()
    }
    assert starters == {"recovery/source.py"}


def test_the_labs_policy_speaks_to_the_labs_server_alone(wire):
    lab = GuardAdapter(wire, BASE, OwnServerPolicy("/run/incus/unix.socket"))
    lab.send(prepared("POST", "/1.0/projects", {"name": "atlas"}))
    other = GuardAdapter(wire, BASE, OwnServerPolicy("/var/lib/lab/unix.socket"))
    with pytest.raises(GuardRefused, match="another server than the lab's"):
        other.send(prepared("GET", "/1.0"))
    assert len(wire.sent) == 1
