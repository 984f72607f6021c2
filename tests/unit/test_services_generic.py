"""The generic service believes no command that would say the same of lost data."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fixtures.clock import NotYet
from fixtures.errors import CouldNotLook, RecoveryFailed
from fixtures.fleet.load import load_fleet
from fixtures.fleet.model import Service
from fixtures.incus.instance import CommandResult
from fixtures.services.base import judge_canaries
from fixtures.services.generic import Generic
from fixtures.services.note import compare
from tests.unit.servers import context_of, identity, pages, server

POSTGRESQL = load_fleet(Path(__file__).parents[2] / "fleets" / "postgresql.yaml").services[0]
CANARY = {
    "user": "keeper",
    "initialise": ["prepare"],
    "write": ["put", "{id}", "v={value}"],
    "read": ["get", "{id}"],
    "observe": {"number": ["count"]},
    "version": ["version"],
}
NOW = datetime.now(UTC)


class Keeper:
    """An instance in which a few commands keep values in a dictionary."""

    name = "keeper01"

    def __init__(self, **commands):
        self.values, self.seen, self.files, self.connect = {}, [], {}, None
        self.commands = {
            "put": lambda key, value: self.values.update({key: value.removeprefix("v=")}) or "",
            "get": lambda key: f"{self.values[key]}\n" if key in self.values else "",
            "count": lambda: f"{len(self.values)}\n",
            "version": lambda: "keeper 1.0\nbuilt by hand\n",
            "prepare": lambda: "",
            **commands,
        }

    def exec(self, argv, *, timeout=30):
        self.seen.append(argv)
        inner = argv[4:] if argv[:4] == ["runuser", "-u", "keeper", "--"] else argv
        assert inner[:3] == ["timeout", "-s", "KILL"] and timeout > int(inner[3])
        answer = self.commands[inner[4]](*inner[5:])
        status, text = answer if isinstance(answer, tuple) else (0, answer)
        return CommandResult(tuple(argv), status, *(("", text) if status else (text, "")))

    def pull(self, path):
        return self.files[path]

    def dial(self, port, *, patience=0.0):
        assert port == 5432
        if self.connect is None:
            raise ConnectionRefusedError("Connection refused")
        return self.connect()


def service(keeper, health=None, **changed):
    given = POSTGRESQL.model_dump() | {"canary": CANARY | changed}
    return Generic(Service.model_validate(given | ({"health": health} if health else {})), keeper)


def test_canaries_are_read_as_they_are():
    keeper = Keeper()
    subject = service(keeper)
    held, later = subject.write_canaries("earlier"), subject.write_canaries("later-1")
    assert subject.read_canaries([*held, *later]) == {c.id: c.value for c in (*held, *later)}
    assert [c.id for c in held] == [f"earlier canary {n}" for n in (1, 2, 3)]
    tokens = {token for c in (*held, *later) for token in (c.key, c.value)}
    assert len(tokens) == 12
    assert all(re.fullmatch(r"drill-[a-z0-9-]+-[0-9a-f]{16}", token) for token in tokens)
    del keeper.values[held[0].key]
    keeper.values[held[1].key] += " "
    del keeper.values[later[0].key]
    ledger = judge_canaries(held, later, subject.read_canaries([*held, *later]))
    assert ledger.faults == [
        "lost: earlier canary 1",
        "changed: earlier canary 2",
        "there although written after the backup: later-1 canary 2",
        "there although written after the backup: later-1 canary 3",
    ]


@pytest.mark.parametrize(
    ("get", "message"),
    [
        (lambda _, key: f"{key}\n", "proves nothing: it prints 'drill-earlier-"),
        (lambda _, key: "yes\n", "proves nothing: it prints 'yes'"),
        (lambda _, key: "", "is read as None"),
        (lambda _, key: "\n", "is read as None"),
        (lambda _, key: (1, "no route"), "status 1: no route"),
        (lambda _, key: (137, ""), "killed, it took too long: it said nothing"),
        (
            lambda values, key: list(values.values())[-1] if key in values else "",
            "earlier canary 1 was written as",
        ),
        (lambda values, key: next(iter(values.values()), ""), "id that was never written"),
    ],
    ids=["echoes", "always yes", "silent", "an empty line", "fails", "hangs", "last", "first"],
)
def test_a_read_that_proves_nothing_is_refused(get, message):
    keeper = Keeper(get=lambda key: get(keeper.values, key))
    with pytest.raises(CouldNotLook, match=re.escape(message)):
        service(keeper).write_canaries("earlier")


def test_a_read_that_begins_to_echo_after_the_recovery_is_refused():
    keeper = Keeper()
    subject = service(keeper)
    held = subject.write_canaries("earlier")
    keeper.commands["get"] = lambda key: keeper.values.get(key, key)
    for check in (lambda: subject.read_canaries(held), subject.active_checks):
        with pytest.raises(CouldNotLook, match="for an id that was never written"):
            check()


def test_a_write_that_fails_or_stores_something_else_is_refused():
    with pytest.raises(CouldNotLook, match="`canary.write` of service postgresql in keeper01: "):
        service(Keeper(put=lambda key, value: (3, "read-only"))).write_canaries("earlier")
    keeper = Keeper(put=lambda key, value: keeper.values.update({key: value[:-1]}) or "")
    with pytest.raises(CouldNotLook, match="and is read as 'v=drill-earlier-"):
        service(keeper).write_canaries("earlier")


def test_a_status_can_say_absence():
    keeper = Keeper(get=lambda key: keeper.values.get(key, (4, "no such key")))
    assert len(service(keeper, absent=[4]).write_canaries("earlier")) == 3
    with pytest.raises(CouldNotLook, match="status 4: no such key"):
        service(keeper).write_canaries("earlier")


def test_commands_run_as_the_user_and_initialise_as_root():
    keeper = Keeper()
    service(keeper).initialise()
    service(keeper).version()
    service(keeper, user=None).version()
    service(keeper, initialise=None).initialise()
    assert [argv[0] for argv in keeper.seen] == ["timeout", "runuser", "timeout"]
    assert keeper.seen[0][-1] == "prepare"
    keeper.commands["prepare"] = lambda: (1, "no space")
    with pytest.raises(RecoveryFailed, match=r"`canary\.initialise` .* status 1: no space"):
        service(keeper).initialise()


def test_facts_and_version():
    subject = service(Keeper())
    assert (subject.version(), subject.read_facts()) == ("keeper 1.0", {"number": "0"})
    one, other = (
        service(Keeper(count=lambda text=text: text)).read_facts()["number"]
        for text in ("x" * 201, "x" * 200 + "y")
    )
    assert one.startswith("201 characters, SHA-256 ") and one != other
    for answer in ("", "\n", (2, "gone")):
        mute = dict.fromkeys(("count", "version"), lambda said=answer: said)
        for act in (Generic.read_facts, Generic.version):
            with pytest.raises(CouldNotLook, match="it printed nothing|status 2: gone"):
                act(service(Keeper(**mute)))


def test_lines_with_a_name_are_holdings_of_their_own_and_their_numbers_move():
    keeper = Keeper(count=lambda: "app.a: 3\napp.odd: name: 4\n")
    subject = service(keeper)
    before = subject.list_items(NOW)
    assert [(h.what, h.name, h.value, h.count) for h in before] == [
        ("number", "app.a", "3", 3),
        ("number", "app.odd: name", "4", 4),
    ]
    keeper.commands["count"] = lambda: "app.a: 5\napp.odd: name: 4\n"
    held, moving = compare(before, subject.list_items(NOW))
    assert [h.name for h in held] == ["app.odd: name"]
    assert moving == {"number: app.a": ("3", "5")}
    for whole in ("7", "a: 1\nno number here", "a: 1\na: 1"):
        [holding] = service(Keeper(count=lambda shown=whole: shown)).list_items(NOW)
        assert (holding.name, holding.value) == ("all", whole)


def test_what_is_proven_is_new_data():
    [proof] = service(Keeper()).active_checks()
    assert proof.held
    for answer, detail in (((1, "read-only file system"), "read-only file system"), ("", "None")):
        keeper = Keeper(put=lambda key, value, answer=answer: answer)
        [proof] = service(keeper).active_checks()
        assert not proof.held and proof.detail.endswith(detail)


@pytest.mark.parametrize(
    ("status", "said", "held"),
    [(0, "", True), (2, "index is corrupt", False), (127, "no such", None)],
)
def test_what_verifies_ends_with_status_0(status, said, held):
    [proof] = service(Keeper(a=lambda: (status, said)), verify={"sound": ["a"]}).check_whole()
    assert (proof.name, proof.held) == ("sound", held) and said in proof.detail


def test_health_by_a_command():
    keeper = Keeper(ready=lambda: "accepting\n", asleep=lambda: (2, "starting up"))
    health = {"protocol": "command", "command": ["ready"]}
    assert service(keeper, health).check_health() == "accepting"
    with pytest.raises(NotYet, match="status 2: starting up"):
        service(keeper, health | {"command": ["asleep"]}).check_health()


@pytest.mark.parametrize(
    ("protocol", "answer"), [("tcp", "port 5432 takes connections"), ("mqtt", "MQTT CONNACK")]
)
def test_health_by_tcp_and_mqtt(protocol, answer):
    keeper = Keeper()
    subject = service(keeper, {"protocol": protocol, "port": 5432})
    with pytest.raises(NotYet, match="refused"):
        subject.check_health()

    def broker(connection):
        if connection.recv(100):
            connection.sendall(b"\x20\x02\x00\x00")

    with server(broker) as keeper.connect:
        assert subject.check_health() == answer


@pytest.mark.parametrize("protocol", ["http", "https"])
def test_health_by_http_is_verified(protocol):
    keeper, own = Keeper(), identity("git.example")
    keeper.files["/etc/root.pem"] = own.pem
    health = {"protocol": protocol, "port": 5432, "paths": ["/ready"]}
    context = None
    if protocol == "https":
        health |= {"ca": "/etc/root.pem", "host": "git.example"}
        context = context_of(own)

    def check(**changes):
        subject = service(keeper, health | changes)
        try:
            return subject.check_health()
        finally:
            subject.close()

    with server(pages({"/ready": b"answer"}), context) as keeper.connect:
        assert check() == "/ready: answer"
        with pytest.raises(NotYet, match="/live: status 503"):
            check(paths=["/ready", "/live"])
        if protocol == "https":
            with pytest.raises(CouldNotLook, match=r"other\.example"):
                check(host="other.example")
