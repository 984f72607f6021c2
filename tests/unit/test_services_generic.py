"""The generic service believes no command that would say the same of lost data."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fixtures.errors import CouldNotLook, RecoveryFailed
from fixtures.fleet.load import load_fleet
from fixtures.fleet.model import Service
from fixtures.incus.instance import CommandResult
from fixtures.services.base import judge_canaries
from fixtures.services.generic import Generic
from fixtures.services.note import compare
from fixtures.waiting import NotYet

POSTGRESQL = load_fleet(Path(__file__).parents[2] / "fleets" / "postgresql.yaml").services[0]
CANARY: dict[str, Any] = {
    "user": "keeper",
    "initialise": ["prepare"],
    "write": ["put", "{id}", "v={value}"],
    "read": ["get", "{id}"],
    "observe": {"number": ["count"]},
    "version": ["version"],
}
Command = Callable[..., str | tuple[int, str]]


def spec(health: dict[str, Any] | None = None, **changed: Any) -> Service:
    given = POSTGRESQL.model_dump() | {"canary": CANARY | changed}
    return Service.model_validate(given | ({"health": health} if health else {}))


class Keeper:
    """An instance in which a few commands keep values in a dictionary."""

    name = "keeper01"

    def __init__(self, **commands: Command) -> None:
        self.values: dict[str, str] = {}
        self.seen: list[tuple[str, ...]] = []
        self.files: dict[str, bytes] = {}
        self.port = 0
        self.commands: dict[str, Command] = {
            "put": self.put,
            "get": lambda key: f"{self.values[key]}\n" if key in self.values else "",
            "count": lambda: f"{len(self.values)}\n",
            "version": lambda: "keeper 1.0\nbuilt by hand\n",
            "prepare": lambda: "",
            **commands,
        }

    def put(self, key: str, value: str) -> str:
        self.values[key] = value.removeprefix("v=")
        return ""

    def exec(self, argv: Sequence[str], *, timeout: float = 30) -> CommandResult:
        self.seen.append(tuple(argv))
        inner = list(argv)
        if inner[0] == "runuser":
            assert inner[:4] == ["runuser", "-u", "keeper", "--"]
            inner = inner[4:]
        assert inner[:3] == ["timeout", "-s", "KILL"]
        assert timeout > int(inner[3])
        answer = self.commands[inner[4]](*inner[5:])
        status, text = answer if isinstance(answer, tuple) else (0, answer)
        return CommandResult(tuple(argv), status, *(("", text) if status else (text, "")))

    def pull(self, path: str) -> bytes:
        return self.files[path]

    def dial(self, port: int, *, patience: float = 0.0) -> socket.socket:
        assert port == 5432
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)


def made(keeper: Keeper, **changed: Any) -> Generic:
    return Generic(spec(**changed), keeper)  # type: ignore[arg-type]


def test_what_was_written_is_found_with_its_value() -> None:
    keeper = Keeper()
    subject = made(keeper)
    held, later = subject.write_canaries("earlier"), subject.write_canaries("later-1")
    assert subject.read_canaries([*held, *later]) == {c.id: c.value for c in (*held, *later)}
    assert [c.id for c in held] == [f"earlier canary {n}" for n in (1, 2, 3)]
    tokens = [token for c in (*held, *later) for token in (c.key, c.value)]
    assert len(set(tokens)) == 12
    assert all(re.fullmatch(r"drill-[a-z0-9-]+-[0-9a-f]{16}", token) for token in tokens)
    # Recovery to the point of the backup.
    for canary in later:
        del keeper.values[canary.key]
    ledger = judge_canaries(held, later, subject.read_canaries([*held, *later]))
    assert (len(ledger.recovered), len(ledger.gone), ledger.faults) == (3, 3, [])


def test_lost_changed_and_unexpected_are_told_apart() -> None:
    keeper = Keeper()
    subject = made(keeper)
    held, later = subject.write_canaries("earlier"), subject.write_canaries("later-1")
    del keeper.values[held[0].key]
    keeper.values[held[1].key] += " "
    ledger = judge_canaries(held, later, subject.read_canaries([*held, *later]))
    assert ledger.lost == ["earlier canary 1"]
    assert ledger.changed == ["earlier canary 2"]
    assert ledger.unexpected == [c.id for c in later]


@pytest.mark.parametrize(
    ("get", "told"),
    [
        (lambda key: f"{key}\n", "proves nothing: it prints 'drill-earlier-"),
        (lambda key: "yes\n", "proves nothing: it prints 'yes'"),
        (lambda key: "", "is read as None"),
        (lambda key: "\n", "is read as None"),
        (lambda key: (1, "no route"), "status 1: no route"),
        (lambda key: (137, ""), "killed, it took too long: it said nothing"),
    ],
    ids=["echoes", "always succeeds", "always silent", "an empty line", "fails", "hangs"],
)
def test_a_read_that_cannot_be_believed(get: Command, told: str) -> None:
    with pytest.raises(CouldNotLook, match=re.escape(told)):
        made(Keeper(get=get)).write_canaries("earlier")


def test_a_read_that_ignores_its_id() -> None:
    keeper = Keeper()
    keeper.commands["get"] = lambda key: (
        list(keeper.values.values())[-1] if key in keeper.values else ""
    )
    with pytest.raises(CouldNotLook, match="earlier canary 1 was written as"):
        made(keeper).write_canaries("earlier")


def test_a_read_that_ignores_its_id_and_finds_what_is_there() -> None:
    keeper = Keeper()
    keeper.commands["get"] = lambda key: next(iter(keeper.values.values()), "")
    with pytest.raises(CouldNotLook, match="for an id that was never written"):
        made(keeper).write_canaries("earlier")


def test_a_read_that_begins_to_echo_after_the_recovery() -> None:
    keeper = Keeper()
    subject = made(keeper)
    held = subject.write_canaries("earlier")
    values = {c.key: c.value for c in held}
    keeper.commands["get"] = lambda key: values.get(key, key)
    for look in (lambda: subject.read_canaries(held), subject.prove):
        with pytest.raises(CouldNotLook, match="for an id that was never written"):
            look()


def test_a_write_that_fails_or_stores_something_else() -> None:
    with pytest.raises(CouldNotLook, match="`canary.write` of service postgresql in keeper01: "):
        made(Keeper(put=lambda key, value: (3, "read-only"))).write_canaries("earlier")
    keeper = Keeper()
    keeper.commands["put"] = lambda key, value: keeper.values.update({key: value[:-1]}) or ""
    with pytest.raises(CouldNotLook, match="and is read as 'v=drill-earlier-"):
        made(keeper).write_canaries("earlier")


def test_a_status_can_say_absence() -> None:
    keeper = Keeper()
    keeper.commands["get"] = lambda key: keeper.values.get(key, (4, "no such key"))
    assert len(made(keeper, absent=[4]).write_canaries("earlier")) == 3
    with pytest.raises(CouldNotLook, match="status 4: no such key"):
        made(keeper).write_canaries("earlier")


def test_commands_run_as_the_user_and_initialise_as_root() -> None:
    keeper = Keeper()
    made(keeper).initialise()
    made(keeper).version()
    made(keeper, user=None).version()
    assert [argv[0] for argv in keeper.seen] == ["timeout", "runuser", "timeout"]
    assert keeper.seen[0][-1] == "prepare"


def test_initialise_that_fails_or_is_left_out() -> None:
    keeper = Keeper(prepare=lambda: (1, "no space"))
    with pytest.raises(RecoveryFailed, match=r"`canary\.initialise` .* status 1: no space"):
        made(keeper).initialise()
    keeper.seen.clear()
    made(keeper, initialise=None).initialise()
    assert keeper.seen == []


def test_facts_and_version() -> None:
    keeper = Keeper()
    subject = made(keeper)
    assert (subject.version(), subject.observe()) == ("keeper 1.0", {"number": "0"})
    subject.write_canaries("earlier")
    assert subject.observe() == {"number": "3"}
    keeper.commands["count"] = lambda: "x" * 201
    long = subject.observe()["number"]
    keeper.commands["count"] = lambda: "x" * 200 + "y"
    assert long.startswith("201 characters, SHA-256 ")
    assert long != subject.observe()["number"]


@pytest.mark.parametrize("answer", ["", "\n", (2, "gone")])
def test_a_fact_that_tells_nothing(answer: Any) -> None:
    subject = made(Keeper(count=lambda: answer, version=lambda: answer))
    for look in (subject.observe, subject.version):
        with pytest.raises(CouldNotLook, match="it printed nothing|status 2: gone"):
            look()


def test_the_proof_is_new_data() -> None:
    keeper = Keeper()
    [proof] = made(keeper).prove()
    assert proof.held
    keeper.commands["put"] = lambda key, value: (1, "read-only file system")
    [proof] = made(keeper).prove()
    assert not proof.held and "read-only file system" in proof.detail
    keeper.commands["put"] = lambda key, value: ""
    [proof] = made(keeper).prove()
    assert not proof.held and proof.detail.endswith("read None")


def test_health_by_a_command() -> None:
    keeper = Keeper(ready=lambda: "accepting\n", asleep=lambda: (2, "starting up"))
    health = {"protocol": "command", "command": ["ready"]}
    assert made(keeper, health=health).look_healthy() == "accepting"
    with pytest.raises(NotYet, match="status 2: starting up"):
        made(keeper, health=health | {"command": ["asleep"]}).look_healthy()


@contextmanager
def listening(keeper: Keeper, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """One connection after another is handed to `serve`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        keeper.port = server.getsockname()[1]

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)


def test_health_by_tcp_and_mqtt() -> None:
    keeper = Keeper()
    tcp = made(keeper, health={"protocol": "tcp", "port": 5432})
    mqtt = made(keeper, health={"protocol": "mqtt", "port": 5432})

    def broker(connection: socket.socket) -> None:
        if connection.recv(100):
            connection.sendall(b"\x20\x02\x00\x00")
            connection.recv(100)

    with listening(keeper, broker):
        assert tcp.look_healthy() == "port 5432 takes connections"
        assert mqtt.look_healthy() == "MQTT CONNACK"
    for look in (tcp.look_healthy, mqtt.look_healthy):
        with pytest.raises(NotYet, match="refused"):
            look()


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()
        self.wfile.write(b"answer")

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def web(keeper: Keeper, context: ssl.SSLContext | None = None) -> Iterator[None]:
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        keeper.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join(timeout=10)


def test_health_by_http() -> None:
    keeper = Keeper()
    with web(keeper):
        subject = made(keeper, health={"protocol": "http", "port": 5432, "paths": ["/ready"]})
        assert subject.look_healthy() == "/ready: answer"
        subject.hang_up()
        both = {"protocol": "http", "port": 5432, "paths": ["/ready", "/live"]}
        subject = made(keeper, health=both)
        with pytest.raises(NotYet, match="/live: status 503"):
            subject.look_healthy()
        subject.hang_up()


def certificate(directory: Path, name: str) -> ssl.SSLContext:
    """A context with a certificate that is its own root, in `directory/pem`."""
    key, subject = (
        ec.generate_private_key(ec.SECP256R1()),
        [x509.NameAttribute(NameOID.COMMON_NAME, name)],
    )
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(x509.Name(subject), x509.Name(subject), key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "pem").write_bytes(made.public_bytes(pem) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "pem")
    return context


def test_health_by_https_is_verified(tmp_path: Path) -> None:
    keeper = Keeper()
    health = {
        "protocol": "https",
        "port": 5432,
        "paths": ["/ready"],
        "ca": "/etc/root.pem",
        "host": "git.example",
    }
    with web(keeper, certificate(tmp_path, "git.example")):
        keeper.files["/etc/root.pem"] = (
            (tmp_path / "pem").read_bytes().partition(b"-----BEGIN P")[0]
        )
        subject = made(keeper, health=health)
        assert subject.look_healthy() == "/ready: answer"
        subject.hang_up()
        stranger = made(keeper, health=health | {"host": "other.example"})
        with pytest.raises(CouldNotLook, match="other.example"):
            stranger.look_healthy()
        stranger.hang_up()


def test_lines_with_a_name_are_holdings_of_their_own_and_their_numbers_move() -> None:
    keeper = Keeper(count=lambda: "app.a: 3\napp.odd: name: 4\n")
    subject = made(keeper)
    now = datetime.datetime.now(datetime.UTC)
    before = subject.holdings(now)
    assert [(one.what, one.name, one.value, one.count) for one in before] == [
        ("number", "app.a", "3", 3),
        ("number", "app.odd: name", "4", 4),
    ]
    keeper.commands["count"] = lambda: "app.a: 5\napp.odd: name: 4\n"
    held, moving = compare(before, subject.holdings(now))
    assert ([one.name for one in held], moving) == (
        ["app.odd: name"],
        {"number: app.a": ("3", "5")},
    )
    for whole in ("7", "a: 1\nno number here", "a: 1\na: 1"):
        keeper.commands["count"] = lambda shown=whole: shown
        [one] = subject.holdings(now)
        assert (one.name, one.value) == ("all", whole)


@pytest.mark.parametrize(
    ("answer", "held"), [("", True), ((2, "index is corrupt"), False), ((127, "no such"), None)]
)
def test_what_verifies_ends_with_status_0(answer: Any, held: bool | None) -> None:
    subject = made(Keeper(check=lambda: answer), verify={"sound": ["check"]})
    [proof] = subject.prove_thoroughly()
    assert (proof.name, proof.held) == ("sound", held)
    assert not isinstance(answer, tuple) or answer[1] in proof.detail
