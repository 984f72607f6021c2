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
    "requests.adapters.HTTPAdapter": {"incus/bounded.py", "services/http.py"},
    "requests.post": set(),
    "requests.put": set(),
    "requests.patch": set(),
    "requests.delete": set(),
    "requests.request": set(),
    "requests.get": set(),
    "pylxd.Client": {"incus/client.py"},
    "pylxd.client.get_session_for_url": set(),
    "pylxd.client.LXDSSLAdapter": {"incus/bounded.py"},
    "fixtures.incus.bounded.PinnedAdapter": {"incus/guard.py"},
    "fixtures.incus.bounded.UnixAdapter": {"incus/guard.py"},
    "fixtures.incus.bounded.websocket_over": {"incus/tunnel.py"},
    "websocket.create_connection": set(),
    "fixtures.incus.tunnel.open_websocket": {"incus/events.py"},
    "socketserver.UnixStreamServer": {"incus/doorway.py"},
    "socket.AF_UNIX": {"incus/bounded.py", "incus/tunnel.py"},
    "socket.socket": {"incus/bounded.py", "incus/tunnel.py"},
    "socket.create_connection": {"incus/buckets.py", "incus/tunnel.py", "services/read_only.py"},
    "socket.create_server": {"incus/tunnel.py"},
    "http.client.HTTPConnection": set(),
    "http.client.HTTPSConnection": set(),
    "urllib.request.urlopen": set(),
    "urllib3.PoolManager": set(),
    "pylxd.client._UnixAdapter": set(),
    "ws4py.client.WebSocketBaseClient": set(),
    "websocket.WebSocketApp": set(),
    "websocket.WebSocket": {"incus/bounded.py"},
}
"""What opens a way, and the files that may: services talk through tunnels, the lab to itself.

S3 is no way to Incus: a key reaches the objects of one bucket, and the guard lets nobody read the
keys of a source's bucket. The relay listens for OpenTofu, on loopback.

The doorway listens, and sends through the guarded session; of the API's websockets only that of
the events of the drill project is opened for somebody else.
"""

ALIASES = {
    "requests.sessions.Session": "requests.Session",
    "pylxd.client.Client": "pylxd.Client",
    "requests.api.request": "requests.request",
}


def dotted(node, names):
    """`a.b.c` of an attribute chain, with what was imported under another name put back."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value, names)
        return f"{inner}.{node.attr}" if inner else None
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else None


def imported(tree):
    """Local name -> what it stands for, of every import of a module."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def doors(source):
    """The doors that a module's code calls, subclasses or (a constant) reads; no annotations."""
    tree = ast.parse(source)
    names = imported(tree)
    seen = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            seen.add(dotted(node.func, names))
        elif isinstance(node, ast.ClassDef):
            seen.update(dotted(base, names) for base in node.bases)
        elif isinstance(node, ast.Attribute) and node.attr == "AF_UNIX":
            seen.add(dotted(node, names))
    return {ALIASES.get(door, door) for door in seen} & DOORS.keys()


def test_every_door_is_where_it_belongs():
    for file in FIXTURES.rglob("*.py"):
        place = str(file.relative_to(FIXTURES))
        if place.startswith("lab/"):
            continue
        for door in doors(file.read_text()):
            assert place in DOORS[door], f"{place} opens a way of its own: {door}"


def test_a_way_of_its_own_is_seen():
    for code in (
        "import requests\nrequests.Session().post('x')",
        "import requests as r\nr.Session()",
        "from requests import Session\nSession()",
        "from requests.sessions import Session as S\nclass Mine(S): ...",
    ):
        assert doors(code) == {"requests.Session"}
    assert doors("from pylxd import Client as C\nC()") == {"pylxd.Client"}
    assert doors("import socket\nsocket.create_connection(('x', 1))") == {
        "socket.create_connection"
    }
    assert doors("import urllib3\nurllib3.PoolManager()") == {"urllib3.PoolManager"}


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
