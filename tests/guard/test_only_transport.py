"""The guard is the only transport to Incus: no other session, socket or websocket is opened."""

import ast
from pathlib import Path

import pytest

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
TRANSPORTS = {
    "requests.Session": {"incus/guard.py", "services/http.py"},
    "requests.session": set(),
    "requests.adapters.HTTPAdapter": {"incus/bounded.py"},
    "requests.post": {"plugin/alarms.py", "plugin/report.py"},
    "requests.put": set(),
    "requests.patch": set(),
    "requests.delete": set(),
    "requests.request": set(),
    "requests.get": set(),
    "pylxd.Client": {"incus/client.py"},
    "pylxd.client.get_session_for_url": set(),
    "pylxd.client.LXDSSLAdapter": set(),
    "pylxd.client._UnixAdapter": set(),
    "fixtures.incus.bounded.DialAdapter": {"incus/guard.py", "services/http.py"},
    "fixtures.incus.bounded.connect_to_server": {"incus/guard.py", "incus/tunnel.py"},
    "fixtures.incus.bounded.websocket_over": {"incus/tunnel.py"},
    "fixtures.incus.tunnel.open_websocket": set(),
    "websocket.create_connection": set(),
    "websocket.WebSocket": {"incus/bounded.py"},
    "websocket.WebSocketApp": set(),
    "ws4py.client.WebSocketBaseClient": set(),
    "socketserver.UnixStreamServer": set(),
    "socket.AF_UNIX": {"incus/bounded.py"},
    "socket.socket": {"incus/bounded.py"},
    "socket.create_connection": {"incus/volumes.py", "incus/bounded.py", "services/note.py"},
    "socket.create_server": {"incus/tunnel.py"},
    "http.client.HTTPConnection": set(),
    "http.client.HTTPSConnection": set(),
    "urllib.request.urlopen": set(),
    "urllib3.PoolManager": set(),
}
"""What opens a connection, and the modules that may: services talk through tunnels, the lab to
itself. S3 is no transport to Incus: a key reaches the objects of one bucket, and the guard refuses
to read the keys of a source's bucket. The relay listens for OpenTofu, on loopback. A heartbeat goes
to the operator's monitor and a digest to a time-stamping authority, without our certificate."""

ALIASES = {
    "requests.sessions.Session": "requests.Session",
    "pylxd.client.Client": "pylxd.Client",
    "requests.api.request": "requests.request",
}


def dotted(node, names):
    """Return `a.b.c` of an attribute chain, with imported names resolved."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value, names)
        return f"{inner}.{node.attr}" if inner else None
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else None


def imported(tree):
    """Return local name -> full name, of every import of a module."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def transports(source):
    """Return the transports that a module calls, subclasses or (a constant) reads."""
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
    return {ALIASES.get(name, name) for name in seen} & TRANSPORTS.keys()


def test_every_transport_is_where_it_belongs():
    for file in FIXTURES.rglob("*.py"):
        module = str(file.relative_to(FIXTURES))
        if module.startswith("lab/"):
            continue
        for transport in transports(file.read_text()):
            assert module in TRANSPORTS[transport], f"{module} opens its own: {transport}"


@pytest.mark.parametrize(
    ("code", "transport"),
    [
        ("import requests\nrequests.Session().post('x')", "requests.Session"),
        ("import requests as r\nr.Session()", "requests.Session"),
        ("from requests import Session\nSession()", "requests.Session"),
        ("from requests.sessions import Session as S\nclass Mine(S): ...", "requests.Session"),
        ("from pylxd import Client as C\nC()", "pylxd.Client"),
        ("import socket\nsocket.create_connection(('x', 1))", "socket.create_connection"),
        ("import urllib3\nurllib3.PoolManager()", "urllib3.PoolManager"),
    ],
)
def test_another_transport_is_seen(code, transport):
    assert transports(code) == {transport}
