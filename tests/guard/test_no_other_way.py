"""There is no other way to Incus than the guard: no session, socket or websocket beside it."""

from __future__ import annotations

import ast
from pathlib import Path

import pylxd
import pytest

from fixtures.errors import GuardRefused
from fixtures.incus.guard import DrillPolicy, GuardAdapter, guarded_session

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
DOORS = {
    "requests.Session": {"incus/guard.py", "services/http.py"},
    "requests.session": set(),
    "requests.adapters.HTTPAdapter": {"services/http.py"},
    "requests.post": set(),
    "requests.put": set(),
    "requests.patch": set(),
    "requests.delete": set(),
    "requests.request": set(),
    "requests.get": set(),
    "pylxd.Client": {"incus/client.py"},
    "pylxd.client.get_session_for_url": {"incus/guard.py"},
    "pylxd.client.LXDSSLAdapter": {"incus/guard.py"},
    "websocket.create_connection": {"incus/tunnel.py"},
    "socket.AF_UNIX": {"incus/tunnel.py"},
    "http.client.HTTPConnection": set(),
    "urllib.request.urlopen": set(),
}
"""What opens a way, and the files that may: services talk through tunnels, the lab to itself."""


def dotted(node):
    """`a.b.c` of an attribute chain."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else None
    return node.id if isinstance(node, ast.Name) else None


def doors(source):
    """The doors that a module's code calls, subclasses or (a constant) reads; no annotations."""
    seen = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            seen.add(dotted(node.func))
        elif isinstance(node, ast.ClassDef):
            seen.update(dotted(base) for base in node.bases)
        elif isinstance(node, ast.Attribute) and node.attr == "AF_UNIX":
            seen.add(dotted(node))
    return seen & DOORS.keys()


def test_every_door_is_where_it_belongs():
    for file in FIXTURES.rglob("*.py"):
        place = str(file.relative_to(FIXTURES))
        if place.startswith("lab/"):
            continue
        for door in doors(file.read_text()):
            assert place in DOORS[door], f"{place} opens a way of its own: {door}"


def test_a_way_of_its_own_is_seen():
    assert doors("import requests\nrequests.Session().post('x')") == {"requests.Session"}


def test_pylxd_goes_through_the_guard(tmp_path):
    session = guarded_session(str(tmp_path / "none.socket"), DrillPolicy("r"))
    assert all(isinstance(adapter, GuardAdapter) for adapter in session.adapters.values())
    assert session.trust_env is False
    node = pylxd.client._APINode(
        f"{next(iter(session.adapters))}/1.0", session=session, project="atlas"
    )
    with pytest.raises(GuardRefused, match="is no drill project"):
        node.instances["grafana01"].delete()


@pytest.mark.parametrize("endpoint", ["http://incus:8443", "https://incus:8443", "incus"])
def test_an_endpoint_that_is_not_pinned_is_refused(endpoint):
    with pytest.raises(GuardRefused, match="neither a unix socket nor a pinned https server"):
        guarded_session(endpoint, DrillPolicy("r"))
