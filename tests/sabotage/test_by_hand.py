"""A person recovers by hand, driven by a pseudo-terminal: wrong turns, secrets, and lost terminals.

Each is a run of its own, as `./run by-hand` makes it, in a lab of its own that is thrown away.
"""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fixtures.evidence.writer import HistoryLine
from fixtures.lab.daemon import Daemon
from tests.faults.conftest import WITH_SIGNALS
from tests.remote.server import small_fleet

ROOT = Path(__file__).parents[2]
HIDDEN = "correct-horse-battery-staple"
READY = "`give-up` ends the drill."
PROMPT = "lab:~/runbook# "
RUNBOOK = """# Book

## Restore from Snapshot
Stop it, put it back, start it.

    set -eu
    incus stop mosquitto01
    incus storage volume snapshot restore local mosquitto01-data SNAPSHOT
    incus start mosquitto01

## Another one
Not shown.
"""
MAPPED = {
    **{"file": "runbook.md", "values": {"SNAPSHOT": "{snapshot}"}},
    "sections": {"Restore from Snapshot": "snapshot"},
}
FIND = "s=$(incus storage volume snapshot list local mosquitto01-data -f csv -c n | head -n1)"
RESTORE = "incus storage volume snapshot restore local mosquitto01-data"


class Hand:
    """A run of `./run by-hand`, with somebody at its terminal.

    Attributes:
        home: of its lab and its reports; short, since the path of a socket is.
        output: all that was shown.
    """

    def __init__(self, home, services, *options, names=("mosquitto",), **fields):
        self.home, self.output, self._seen = home, "", 0
        (home / "runbook.md").write_text(RUNBOOK)
        about = fields or {"runbook": MAPPED}
        fleet = small_fleet(home / "fleet.yaml", names, lambda fleet: fleet.update(about))
        argv = [*WITH_SIGNALS, sys.executable, "-m", "fixtures.plugin.by_hand", *services]
        # The last checks come sooner: other tests are about them.
        reports = f"--reports={home / 'reports'}"
        argv += [f"--fleet={fleet}", reports, "-ptests.faults.brief", *options]
        own = {"ATLAS_DRILLS_STATE": str(home / "s"), "TERM": "xterm", "PYTHONPATH": str(ROOT)}
        self.argv, self.environment = argv, {**os.environ, **own}

    def run(self, *typed, status):
        """Run it by lines of a file, without a terminal; what was shown, and its drill."""
        lines = self.home / "lines"
        lines.write_text("".join(f"{line}\n" for line in typed))
        with lines.open() as stdin:
            about = {"cwd": ROOT, "env": self.environment, "stdin": stdin, "timeout": 180}
            done = subprocess.run(self.argv, **about, capture_output=True, text=True)
        assert done.returncode == status, done.stdout
        self.must_have_left_nothing()
        drill = self.drill()
        shutil.rmtree(self.directory)
        return done.stdout, drill

    def begin(self):
        """Begin it at a new terminal."""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execvpe(self.argv[0], self.argv, self.environment)
        return self

    def read_until(self, text, seconds=90):
        """Read what is shown until a text has come, behind what was read before."""
        ends = time.monotonic() + seconds
        while (found := self.output.find(text, self._seen)) < 0:
            assert time.monotonic() < ends, f"{text!r} did not come:\n{self.output}"
            assert self._read(), f"ended without {text!r}:\n{self.output}"
        shown, self._seen = self.output[self._seen : found], found + len(text)
        return shown

    def _read(self):
        if select.select([self.terminal], [], [], 0.2)[0]:
            try:
                part = os.read(self.terminal, 65536)
            except OSError:
                return False
            self.output += part.decode(errors="replace")
        return True

    def type(self, *lines):
        """Type each line at the prompt."""
        for line in lines:
            self.read_until(PROMPT)
            os.write(self.terminal, f"{line}\r".encode())

    def answer(self, question, text):
        """Wait for a question, and answer it."""
        self.read_until(question)
        os.write(self.terminal, f"{text}\r".encode())

    def end(self):
        """Read to the end; its exit status. The lab is gone, and the terminal as it was."""
        ends = time.monotonic() + 90
        while self._read():
            assert time.monotonic() < ends, self.output
        _, status = os.waitpid(self.pid, 0)
        os.close(self.terminal)
        self.must_have_left_nothing()
        assert "Traceback" not in self.output, self.output
        return os.waitstatus_to_exitcode(status)

    def must_have_left_nothing(self):
        assert not (self.home / "s" / "runbook").exists()
        assert not Daemon("runbook", self.home / "s" / "runbook").has_leftovers()

    @property
    def directory(self):
        (found,) = (self.home / "reports").glob("2*")
        return found

    def record(self):
        return json.loads((self.directory / "evidence.json").read_text())

    def drill(self):
        (found,) = self.record()["drills"]
        return found


@pytest.fixture
def home():
    made = Path(tempfile.mkdtemp(prefix="atlas-by-hand-", dir="/var/tmp"))
    yield made
    shutil.rmtree(made)


def is_running(home):
    """Whether the run goes on, by its arguments: nobody's child waits for a run of a team."""
    found = subprocess.run(["pgrep", "--full", "--", str(home)], stdout=subprocess.DEVNULL)
    return found.returncode == 0


def events(path):
    """The events of a recording."""
    header, *lines = map(json.loads, path.read_text().splitlines())
    assert header["version"] == 2
    return lines


def known(reports, *drills):
    """Have older drills in the history."""
    about = {"run": "older", "begun": "2026-11-01T00:00:00Z", "host": "h", "incus": None}
    about |= {"target": "lab", "service": "mosquitto", "scenario": "snapshot", "rpo": None}
    about |= {"origin": "rehearsal", "verdict": "recovered", "target_rto": 900}
    reports.mkdir(exist_ok=True)
    lines = [HistoryLine.model_validate(about | drill).model_dump_json() for drill in drills]
    (reports / "history.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_a_wrong_restore_and_then_the_right_one_is_recovered_in_the_whole_time(home):
    book = {"procedure": "runbook"}
    of_loki = {"rto": 3, "service": "loki", **book}
    known(home / "reports", {"rto": 7, **book}, {"rto": 1.5}, {"rto": 9, **book}, of_loki)
    hand = Hand(home, ["snapshot", "mosquitto"]).begin()
    hand.answer("who recovers [", "Ann Other")
    hand.answer("in which role [", "on call")
    shown = hand.read_until(READY)
    assert re.search(r"ALERT since \d\d:\d\d:\d\d UTC, target 15:00", shown)
    assert "mosquitto on mosquitto01, port 1883: " in shown
    assert "runbook.md:3" in shown and "Stop it, put it back" in shown and "Not shown" not in shown
    # A snapshot of what is lost: it runs again, with nothing in it.
    hand.type("incus stop mosquitto01", f"{RESTORE.replace('restore', 'create')} x")
    hand.type(f"{RESTORE} x", "incus start mosquitto01", "done")
    hand.read_until("NOT BACK, 0:")
    assert "came back with other data: canaries: lost" in hand.read_until("`done` again")
    # What a program reads without echo is nobody's business.
    hand.type("read -s secret")
    time.sleep(0.5)
    os.write(hand.terminal, f"{HIDDEN}\r".encode())
    hand.type('echo "${#secret} characters"')
    hand.read_until(f"{len(HIDDEN)} characters")
    # The shell ends by its own settings: that is verified too, and there is another one.
    hand.type("set -e", "false")
    hand.read_until("the shell has ended; verifying")
    hand.read_until("NOT BACK, 0:")
    # In a loop `done` is what bash takes it for.
    hand.type("for name in 01; do")
    hand.answer("> ", "incus stop mosquitto$name")
    hand.answer("> ", "done")
    hand.type(FIND, f'{RESTORE} "$s"', "incus start mosquitto01", " done ")
    hand.read_until("BACK after 0:")
    assert hand.end() == 0, hand.output
    assert "Ann Other (on call): back in" in hand.output
    assert "engine, newest: 1.5" in hand.output and "runbook, newest: 9" in hand.output

    drill, person = hand.drill(), hand.drill()["person"]
    assert drill["verdict"] == "recovered"
    assert drill["procedure"] == "person"
    assert (person["name"], person["role"], person["attempts"]) == ("Ann Other", "on call", 3)
    assert person["others"] == {"engine": 1.5, "runbook": 9}
    assert not person["gave_up"] and not person["blind"]
    assert f"+ {RESTORE.replace('restore', 'create')} x" in person["left_runbook"]
    assert not any("lost" in check["detail"] for check in drill["checks"])
    phases = [phase["name"] for phase in drill["phases"]]
    assert phases[1:] == ["restore", "start", "healthy", "verified"]
    begins = [command["begin"] for command in drill["commands"]]
    assert begins == sorted(begins)
    assert drill["rto"] > begins[-1] > 0
    commands = {command["command"]: command["status"] for command in drill["commands"]}
    assert commands["incus stop mosquitto01"] == 0
    assert commands["for name in 01; do incus stop mosquitto$name; done"] == 0
    assert commands["false"] is None
    assert not any(command.strip("\\ ") == "done" for command in commands)
    lines = map(json.loads, (home / "reports" / "history.jsonl").read_text().splitlines())
    *_, line = (line for line in lines if "procedure" in line)
    assert (line["procedure"], line["rto"]) == ("person", drill["rto"])

    written = [path for path in (home / "reports").rglob("*") if path.is_file()]
    assert len(written) > 4
    assert HIDDEN not in hand.output
    for path in written:
        assert HIDDEN not in path.read_text(), path
    lines = events(hand.directory / person["transcript"])
    assert {kind for _, kind, _ in lines} >= {"o", "i"}
    assert [at for at, _, _ in lines] == sorted(at for at, _, _ in lines)
    assert lines[-1][0] >= drill["rto"]


def test_who_gives_up_has_not_recovered_and_blind_shows_no_section(home):
    hand = Hand(home, ["snapshot", "mosquitto"], "--blind", "--as=Bob", "--role=new").begin()
    shown = hand.read_until(READY)
    assert "ALERT since" in shown
    assert "Stop it" not in shown and "runbook.md" not in shown
    hand.type("done")
    time.sleep(0.3)
    # Who is impatient while it verifies ends neither the drill nor the run.
    os.write(hand.terminal, b"\x03\x1c")
    hand.read_until("NOT BACK")
    hand.type("give-up")
    assert hand.end() == 1, hand.output
    assert "Bob (new): not back" in hand.output
    drill = hand.drill()
    assert drill["verdict"] == "not recovered"
    assert drill["reason"].startswith("given up after 0:")
    assert "canaries: lost" in drill["reason"]
    assert drill["person"]["gave_up"] and drill["person"]["blind"]
    assert drill["rto"] is None
    transcript = (hand.directory / drill["person"]["transcript"]).read_text()
    assert "NOT BACK" in transcript and "Stop it, put it back" not in transcript


def test_a_terminal_that_is_gone_ends_the_run_and_takes_the_lab_with_it(home):
    hand = Hand(home, ["snapshot", "mosquitto"], "--as=Cy", "--role=on call").begin()
    hand.read_until(READY)
    hand.type("incus stop mosquitto01", "echo $((40 + 2)) is said")
    hand.read_until("42 is said")
    os.close(hand.terminal)
    os.waitpid(hand.pid, 0)
    record = hand.record()
    assert record["interrupted"] and record["finished"]
    assert record["errors"] == [] and record["cleanup"]["left"] == []
    hand.must_have_left_nothing()
    lines = events(hand.directory / "by-hand.cast")
    typed = [text for _, kind, text in lines if kind == "i"]
    assert typed == ["incus stop mosquitto01\r", "echo $((40 + 2)) is said\r"]


def test_two_services_are_regained_by_lines_from_a_file_and_without_a_runbook(home):
    """There is no terminal: nothing is asked, and the end of the lines is the end.

    The shell is slow: no end of the lines is one for bash that comes before its prompt does.
    """
    names, slow = ("alertmanager", "mosquitto"), "-ptests.faults.slow_shell"
    hand = Hand(home, ["snapshot", *names], slow, names=names, buckets=[])
    lines = [
        f"v={name}01-data; incus stop {name}01; {FIND.replace('mosquitto01-data', '$v')}\n"
        f"{RESTORE.replace('mosquitto01-data', '$v')} $s; incus start {name}01"
        for name in names
    ]
    shown, drill = hand.run(lines[0], "done", status=1)
    assert "mosquitto on mosquitto01, port 1883: " in shown
    assert "alertmanager on alertmanager01, port 9093: " in shown
    assert "maps no section" in shown
    assert drill["verdict"] == "not recovered"
    assert "service mosquitto came back with other data" in drill["reason"]
    assert "service alertmanager" not in drill["reason"]
    _, drill = hand.run(*lines, "done", status=0)
    assert drill["variant"] == "alertmanager+mosquitto"
    assert [member["service"] for member in drill["members"]] == list(names)
    assert all(member["verified"] and member["fault"] is None for member in drill["members"])
    assert {each.split(":")[0] for each in drill["canaries"]["recovered"]} == set(names)
    assert drill["person"]["left_runbook"] == []


def make(name, path, volume):
    """What makes an instance on a volume that `volume` makes."""
    attach = f"incus storage volume attach local {name}01-data {name}01 data {path}"
    return f"{volume}; incus create {name} {name}01; {attach}; incus start {name}01"


COPY = "incus storage volume copy local/{} local/{}"
GIVE_UP = "incus delete --force step-ca01; incus storage volume delete local step-ca01-data"
EMPTY = (
    "incus storage volume create local step-ca01-data size=1GB initial.uid=1100 initial.gid=1100 "
    "initial.mode=0750"
)
IMPORT = "incus storage volume import local /srv/backups/mosquitto01-* mosquitto01-data"
BUCKET = {"name": "state", "pool": "terraform-state", "key": "a/terraform.tfstate"}
BUCKET |= {"backups": {"native": {"consistency": "live", "why": "as it is"}}}
OTHERS = {
    # What is lost: services, buckets, what is tried, what is wrong then, what brings it back.
    "key-compromise": (
        *(["step-ca"], []),
        f"{COPY.format('step-ca01-data', 'kept')}; {GIVE_UP}; "
        + make("step-ca", "/home/step", COPY.format("kept", "step-ca01-data")),
        "was to be made anew, and holds the CA of before",
        f"incus storage volume delete local kept; {GIVE_UP}; "
        + make("step-ca", "/home/step", EMPTY),
    ),
    "native": (
        *(["state"], [BUCKET]),
        *("true", "is not there"),
        "incus storage bucket import terraform-state /srv/backups/* state",
    ),
    "full-rebuild-with-data": (
        *([], []),
        *("true", "instance mosquitto01 is not there"),
        make("mosquitto", "/mosquitto/data", IMPORT),
    ),
}


@pytest.mark.parametrize("scenario", OTHERS)
def test_what_else_is_lost_is_regained_and_not_by_what_was_given_up(home, scenario):
    part, buckets, wrong, why, right = OTHERS[scenario]
    names = part if scenario == "key-compromise" else ["mosquitto"]
    hand = Hand(home, [scenario, *part], names=names, buckets=buckets)
    shown, drill = hand.run(wrong, "done", "true", "done", status=1)
    assert shown.count("NOT BACK") == 2 and "BACK after" not in shown, shown
    assert drill["verdict"] == "not recovered" and why in drill["reason"]
    shown, drill = hand.run(wrong, "done", right, "done", status=0)
    assert drill["verdict"] == "recovered" and "BACK after" in shown
    assert drill["person"]["attempts"] == 2


def join(hand):
    """Join the shell of a team at another terminal; returns that."""
    socket = re.search(r"tmux -S (\S+) attach", hand.output)[1]
    pid, terminal = pty.fork()
    if pid == 0:
        # It would keep the first terminal from being gone.
        os.close(hand.terminal)
        os.execvpe("tmux", ["tmux", "-S", socket, "attach"], {**os.environ, "TERM": "xterm"})
    return pid, terminal


def test_a_team_shares_one_shell_which_ends_with_the_last_of_them(home):
    hand = Hand(home, ["snapshot", "mosquitto"], "--team", "--as=Ann, Bob", "--role=both").begin()
    hand.read_until(READY)
    other, terminal = join(hand)
    time.sleep(1)
    os.write(terminal, b"echo $((40 + 2)) is said by Bob\r")
    hand.read_until("42 is said by Bob")
    (place,) = Path("/run").glob("atlas-drills-team-*")
    os.close(hand.terminal)
    time.sleep(1)
    os.write(terminal, b"echo $((40 + 3)) is said by Bob alone\r")
    shown = b""
    while b"43 is said by Bob alone" not in shown:
        shown += os.read(terminal, 65536)
    assert (home / "s" / "runbook").exists()
    os.close(terminal)
    for pid in (other, hand.pid):
        os.waitpid(pid, 0)
    ends = time.monotonic() + 60
    while not hand.record()["finished"]:
        assert time.monotonic() < ends
        time.sleep(0.2)
    assert hand.record()["interrupted"]
    assert not place.exists()
    while is_running(home):
        assert time.monotonic() < ends
        time.sleep(0.2)
    hand.must_have_left_nothing()
