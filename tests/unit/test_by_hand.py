"""By hand, without a lab: clock and record of a failed attempt, recordings, what was left out."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from itertools import count
from types import SimpleNamespace

import pytest

from fixtures.clock import Stopwatch
from fixtures.errors import UsageError, WrongData
from fixtures.evidence import verify
from fixtures.evidence.record import CheckRecord, PersonRecord
from fixtures.fleet.load import load_fleet
from fixtures.plugin import by_hand, review
from fixtures.plugin.by_hand import summary
from fixtures.plugin.collect import planned_by_hand
from fixtures.plugin.options import DEFAULT_FLEET, ROOT, shown_path
from fixtures.recovery.drill import Drill
from fixtures.runbook.by_hand import LONGEST_PAUSE, Recording, left_runbook, replay
from fixtures.runbook.text import parse_runbook
from fixtures.secrets import Secret, begun_secret

PASSPHRASE = "a-passphrase-of-the-lab"


@pytest.fixture
def known(monkeypatch):
    """The passphrase is the only secret: one of another test may begin as a text here ends."""
    monkeypatch.setattr("fixtures.secrets._known", set())
    return Secret(PASSPHRASE)


def ticks():
    """A clock that goes on by one second each time that it is asked."""
    return partial(next, count(1.0))


def pass_through(thing, *names):
    for name in names:
        with thing.phase(name):
            pass


def test_a_phase_that_is_taken_back_goes_on_from_its_first_begin():
    watch = Stopwatch(now=ticks())
    pass_through(watch, "destroy", "restore", "start", "healthy")
    watch.reopen("restore")
    assert [phase.name for phase in watch.phases] == ["destroy"]
    pass_through(watch, "restore", "start")
    restore, start = watch.phases[1:]
    assert (restore.begin, restore.seconds, start.begin) == (2, 7, 10)
    with pytest.raises(ValueError):
        watch.reopen("verified")


def test_a_failed_attempt_is_not_on_the_record_and_its_time_is():
    drill, part = (Drill(name, "snapshot", 60, "drill-1", "low") for name in ("a", "b"))
    drill.parts.append(part)
    before, lost = (
        CheckRecord(name="canaries", outcome=outcome, detail="") for outcome in ("held", "broken")
    )
    drill.checks.append(before)
    pass_through(drill, "destroy", "restore")
    with pytest.raises(WrongData), drill.attempt(), drill.phase("verified"):
        drill.checks.append(lost)
        part.checks.append(lost)
        raise WrongData("other data")
    assert (drill.checks, part.checks) == ([before], [])
    assert [phase.name for phase in drill.watch.phases] == ["destroy"]
    pass_through(drill, "restore", "start", "healthy", "verified")
    assert drill.rto is not None
    assert not any(phase.failed for phase in drill.watch.phases)


@pytest.mark.parametrize(
    "text, held", [("", 0), ("nothing", 0), ("echo a-pass", 6), ("a-passphrase-of-the-la", 22)]
)
def test_what_may_become_a_secret_is_held_back(known, text, held):
    assert known.reveal() == PASSPHRASE
    assert begun_secret(text) == held


@pytest.fixture
def recorded(tmp_path, known):
    """Record with a function; returns path and events."""

    def record(act):
        path, begun = tmp_path / "by-hand.cast", datetime(2026, 11, 29, tzinfo=UTC)
        recording = Recording(path, ticks(), (80, 24), "a drill", begun)
        act(recording)
        recording.close()
        header, *events = map(json.loads, path.read_text().splitlines())
        assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
        return path, events

    return record


def test_a_secret_is_redacted_though_it_comes_in_pieces(recorded, known):
    # The end of one is the beginning of another.
    assert Secret("lab-of-the-other").reveal().startswith(PASSPHRASE[-3:])

    def act(recording):
        for key in f"echo {known.reveal()} a-p":
            recording.shown(key.encode())
        recording.typed(f"echo {known.reveal()}")

    _, events = recorded(act)
    assert "".join(text for _, kind, text in events if kind == "o") == "echo [redacted] a-p"
    assert [text for _, kind, text in events if kind == "i"] == ["echo [redacted]\r"]


def test_a_recording_is_replayed_without_its_long_pauses(recorded, capsys):
    def act(recording):
        recording.shown("grün".encode()[:3])
        recording.shown("grün".encode()[3:])
        recording.resized(80, 24)
        recording.resized(100, 30)
        recording.typed("true")

    path, events = recorded(act)
    assert [kind for _, kind, _ in events] == ["o", "o", "r", "i"]
    path.write_text(path.read_text().replace("[2.0", "[99.0") + '[100, "o", "to')
    pauses = []
    replay(path, pauses.append)
    assert capsys.readouterr().out == "grün"
    assert max(pauses) == LONGEST_PAUSE


@pytest.mark.parametrize("text", ["", "{}", '{"version": 1}\n', '{"version": 2}\n[1]\n', "words"])
def test_what_is_no_recording_is_said(tmp_path, text):
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(UsageError, match="no recording"):
        replay(path)


LINES = ["suspend", "bash", "true", "exit", "seq 1 200000; give-up"]


@pytest.mark.parametrize(
    "seconds, typed, how, shown",
    [(60, LINES, "give-up", "\n200000\n"), (1, ["sleep 600"], "left", "")],
)
def test_a_shell_comes_to_an_end_and_all_of_it_is_recorded(tmp_path, seconds, typed, how, shown):
    argv = [sys.executable, "-m", "tests.unit.local_shell", str(tmp_path), str(seconds)]
    about = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "timeout": 60}
    lines = "".join(f"{line}\n" for line in typed)
    done = subprocess.run(argv, input=lines, capture_output=True, text=True, **about)
    assert done.stderr.splitlines() == [how, *typed]
    assert shown in done.stdout
    events = map(json.loads, (tmp_path / "cast").read_text().splitlines()[1:])
    assert shown in "".join(text for _, _, text in events).replace("\r", "")


def test_where_the_runbook_was_left():
    section = ["set -eu", "# stop", "incus stop  grafana01", "incus start grafana01"]
    assert left_runbook(section, ["incus stop grafana01", "incus start grafana01"]) == []
    typed = ["incus stop grafana01", "incus list", "for a in b; do\n  true\ndone"]
    assert left_runbook(section, typed) == [
        "- incus start grafana01",
        *("+ incus list", "+ for a in b; do", "+ true", "+ done"),
    ]


def test_a_section_is_shown_with_its_deeper_headings_and_no_other():
    book = parse_runbook("# A\n\n## B\none\n\n### C\n```\nls\n```\n\n## D\nnot\n")
    assert book.section("B").words == "## B\none\n\n### C\n```\nls\n```\n\n"
    assert book.section("A").words.endswith("not\n")


SPARE = {"backups": ("/srv",), "lacks": frozenset({"source"})}


def run_of(*by_hand, **more):
    fleet = load_fleet(DEFAULT_FLEET)
    about = {"target": "lab", "backups": (), "lacks": frozenset()}
    runbook = DEFAULT_FLEET.parent / fleet.runbook.file
    return SimpleNamespace(fleet=fleet, runbook=runbook, by_hand=by_hand, **{**about, **more})


def test_the_summary_names_the_recording_as_it_is_typed(tmp_path):
    made = Drill("x", "snapshot", 900, "drill-x", "low")
    made.person = PersonRecord(name="A", role="B", blind=False, transcript="by-hand.cast")
    path = shown_path(tmp_path / "by hand.cast")
    assert summary(made, path)[-1] == f"  ./run by-hand --replay '{path}'"
    assert shown_path(ROOT / "drills") == os.path.relpath(ROOT / "drills")


@pytest.mark.parametrize("main", [by_hand.main, verify.pack_period, review.write_review])
def test_a_command_takes_an_option_once_and_with_a_value(main, capsys):
    wrong = {"--reports is given twice": ["--reports", "a", "--reports=a"]}
    wrong["an option has no value"] = ["--reports="]
    for said, words in wrong.items():
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2 and said in capsys.readouterr().err


def test_a_wrong_word_is_no_traceback_and_leaves_nothing(tmp_path):
    argv = ["snapshot", "mosquito", "--as=A", "--role=B", f"--reports={tmp_path / 'reports'}"]
    command = [sys.executable, "-m", "fixtures.plugin.by_hand", *argv]
    about = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "timeout": 60}
    done = subprocess.run(command, capture_output=True, text=True, **about)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: fleet atlas has no 'mosquito'; nothing was contacted\nHINT: " in done.stderr
    assert "Error:" not in done.stdout + done.stderr
    assert list((tmp_path / "reports").iterdir()) == []


@pytest.mark.parametrize(
    "by_hand, more, id, origin",
    [
        (("snapshot", "mosquitto"), {}, "mosquitto-by-hand", "rehearsal"),
        (("snapshot", "mosquitto", "loki"), {}, "fleet-by-hand-mosquitto+loki", "rehearsal"),
        (("full-rebuild",), {}, "fleet-by-hand", "rehearsal"),
        (("tarball", "mosquitto"), SPARE, "mosquitto-by-hand", "existing"),
    ],
)
def test_one_drill_is_planned_and_none_without_the_option(by_hand, more, id, origin):
    assert planned_by_hand(run_of()) == []
    (one,) = planned_by_hand(run_of(*by_hand, **more))
    assert (one.id, one.scenario, one.origin, one.by_hand) == (id, by_hand[0], origin, True)
    assert one.section is not None
    if "+" in id:
        assert [service.name for service in one.subject.services] == ["mosquitto", "loki"]


@pytest.mark.parametrize(
    "by_hand, more, said",
    [
        (("snapshots", "mosquitto"), {}, "'snapshots' is no scenario"),
        (("snapshot", "mosquito"), {}, "has no 'mosquito'"),
        (("snapshot",), {}, "name one bucket, or services"),
        (("full-rebuild", "mosquitto"), {}, "the whole fleet is lost"),
        (("key-compromise", "mosquitto"), {}, "mosquitto has no key-compromise"),
        (("native", "grafana", "atlas-terraform-state"), {}, "name one bucket, or services"),
        (("snapshot", "mosquitto"), {"target": "unix"}, "in the lab alone"),
        (("tarball", "loki", "mosquitto"), {"backups": ("/srv",)}, "one service is lost"),
        (("snapshot", "mosquitto"), SPARE, "mosquitto has no snapshot"),
    ],
)
def test_a_wrong_order_is_refused_before_anything_is_contacted(by_hand, more, said):
    with pytest.raises(pytest.UsageError, match=said) as raised:
        planned_by_hand(run_of(*by_hand, **more))
    assert "nothing was contacted" in str(raised.value)
