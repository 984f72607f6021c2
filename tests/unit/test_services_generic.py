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


COMMANDS = {
    "put": lambda values, key, value: values.update({key: value.removeprefix("v=")}) or "",
    "get": lambda values, key: f"{values[key]}\n" if key in values else "",
    "count": lambda values: f"{len(values)}\n",
    "version": lambda _: "keeper 1.0\nbuilt by hand\n",
    "prepare": lambda _: "",
}


class Keeper:
    """An instance in which a few commands keep values in a dictionary."""

    name = "keeper01"

    def __init__(self, **commands):
        self.commands = COMMANDS | commands
        self.values, self.seen, self.files, self.connect = {}, [], {}, None

    def exec(self, argv, *, timeout=30):
        self.seen.append(argv)
        inner = argv[4:] if argv[:4] == ["runuser", "-u", "keeper", "--"] else argv
        assert inner[:3] == ["timeout", "-s", "KILL"] and timeout > int(inner[3])
        answer = self.commands[inner[4]](self.values, *inner[5:])
        status, text = answer if isinstance(answer, tuple) else (0, answer)
        return CommandResult(tuple(argv), status, *(("", text) if status else (text, "")))

    def pull(self, path):
        return self.files[path]

    def dial(self, port):
        assert port == 5432
        if self.connect is None:
            raise ConnectionRefusedError("Connection refused")
        return self.connect()


def service(keeper, health=None, **changed):
    given = POSTGRESQL.model_dump() | {"canary": CANARY | changed}
    return Generic(Service.model_validate(given | ({"health": health} if health else {})), keeper)


def write(subject):
    return subject.write_canaries("earlier")


def test_canaries_are_read_as_they_are():
    keeper = Keeper()
    subject = service(keeper)
    held, later = write(subject), subject.write_canaries("later-1")
    assert subject.read_canaries([*held, *later]) == {c.id: c.value for c in (*held, *later)}
    assert [c.id for c in held] == [f"earlier canary {n}" for n in (1, 2, 3)]
    tokens = {token for c in (*held, *later) for token in (c.key, c.value)}
    assert len(tokens) == 12
    assert all(re.fullmatch(r"drill-[a-z0-9-]+-[0-9a-f]{16}", token) for token in tokens)
    del keeper.values[held[0].key]
    keeper.values[held[1].key] += " "
    del keeper.values[later[0].key]
    ledger = judge_canaries(held, later, subject.read_canaries([*held, *later]))
    assert (ledger.lost, ledger.changed) == (["earlier canary 1"], ["earlier canary 2"])
    assert ledger.unexpected == ["later-1 canary 2", "later-1 canary 3"]
    keeper.commands["get"] = lambda values, key: values.get(key, key)
    for check in (lambda: subject.read_canaries(held), subject.active_checks):
        with pytest.raises(CouldNotLook, match="for an id that was never written"):
            check()


@pytest.mark.parametrize(
    ("act", "command", "does", "message"),
    [
        (write, "get", lambda _, key: f"{key}\n", "proves nothing: it prints 'drill-earlier-"),
        (write, "get", lambda *_: "yes\n", "proves nothing: it prints 'yes'"),
        (write, "get", lambda values, _: next(iter(values.values()), ""), "was never written"),
        (
            write,
            "get",
            lambda values, key: list(values.values())[-1] if key in values else "",
            "earlier canary 1 was written as",
        ),
        (write, "get", lambda *_: "", "is read as None"),
        (write, "get", lambda *_: "\n", "is read as None"),
        (write, "get", lambda *_: (1, "no route"), "status 1: no route"),
        (write, "get", lambda *_: (137, ""), "killed, it took too long: it said nothing"),
        (write, "get", lambda values, key: values.get(key, (4, "no such")), "status 4: no such"),
        (
            write,
            "put",
            lambda *_: (3, "read-only"),
            "`canary.write` of service postgresql in keeper01: ",
        ),
        (
            write,
            "put",
            lambda values, key, value: values.update({key: value[:-1]}) or "",
            "and is read as 'v=drill-earlier-",
        ),
        *(
            (act, command, lambda _, said=said: said, message)
            for act, command in ((Generic.read_facts, "count"), (Generic.version, "version"))
            for said, message in (
                ("", "it printed nothing"),
                ("\n", "it printed nothing"),
                ((2, "gone"), "status 2: gone"),
            )
        ),
    ],
)
def test_a_command_that_fails_or_proves_nothing_is_refused(act, command, does, message):
    with pytest.raises(CouldNotLook, match=re.escape(message)):
        act(service(Keeper(**{command: does})))


def test_a_status_can_say_absence():
    keeper = Keeper(get=lambda values, key: values.get(key, (4, "no such key")))
    assert len(write(service(keeper, absent=[4]))) == 3


def test_commands_run_as_the_user_and_initialise_as_root():
    keeper = Keeper()
    service(keeper).initialise()
    service(keeper).version()
    service(keeper, user=None).version()
    service(keeper, initialise=None).initialise()
    assert [argv[0] for argv in keeper.seen] == ["timeout", "runuser", "timeout"]
    assert keeper.seen[0][-1] == "prepare"
    with pytest.raises(RecoveryFailed, match=r"`canary\.initialise` .* status 1: no space"):
        service(Keeper(prepare=lambda _: (1, "no space"))).initialise()


def test_facts_and_version():
    subject = service(Keeper())
    assert (subject.version(), subject.read_facts()) == ("keeper 1.0", {"number": "0"})
    one, other = (
        service(Keeper(count=lambda _, text=text: text)).read_facts()["number"]
        for text in ("x" * 201, "x" * 200 + "y")
    )
    assert one.startswith("201 characters, SHA-256 ") and one != other


def test_lines_with_a_name_are_holdings_of_their_own_and_their_numbers_move():
    def items(shown):
        return service(Keeper(count=lambda _: shown)).list_items(datetime.now(UTC))

    before = items("app.a: 3\napp.odd: name: 4\n")
    assert [(item.what, item.name, item.value, item.count) for item in before] == [
        ("number", "app.a", "3", 3),
        ("number", "app.odd: name", "4", 4),
    ]
    held, moving = compare(before, items("app.a: 5\napp.odd: name: 4\n"))
    assert [item.name for item in held] == ["app.odd: name"]
    assert moving == {"number: app.a": ("3", "5")}
    for whole in ("7", "a: 1\nno number here", "a: 1\na: 1"):
        [item] = items(whole)
        assert (item.name, item.value) == ("all", whole)


@pytest.mark.parametrize(
    ("put", "held", "end"),
    [
        (COMMANDS["put"], True, ""),
        (lambda *_: (1, "read-only file system"), False, "read-only file system"),
        (lambda *_: "", False, "read None"),
    ],
)
def test_what_is_proven_is_new_data(put, held, end):
    [proof] = service(Keeper(put=put)).active_checks()
    assert proof.held is held and proof.detail.endswith(end)


@pytest.mark.parametrize(
    ("status", "said", "held"),
    [(0, "", True), (2, "index is corrupt", False), (127, "no such", None)],
)
def test_what_verifies_ends_with_status_0(status, said, held):
    [proof] = service(Keeper(a=lambda _: (status, said)), verify={"sound": ["a"]}).check_whole()
    assert (proof.name, proof.held) == ("sound", held) and said in proof.detail


def test_health_by_a_command():
    keeper = Keeper(ready=lambda _: "accepting\n", asleep=lambda _: (2, "starting up"))
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
