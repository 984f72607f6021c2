"""What a runbook says, and what strace says of a section, without a lab."""

import bz2
import gzip
import lzma
import re
from dataclasses import replace
from datetime import timedelta
from random import Random
from types import SimpleNamespace

import pytest

from fixtures.errors import UsageError
from fixtures.fleet.load import load_fleet
from fixtures.fleet.model import RunbookMap
from fixtures.plugin.collect import never_performed
from fixtures.plugin.options import DEFAULT_FLEET
from fixtures.runbook.perform import (
    CommandRun,
    Performed,
    Trace,
    failures,
    is_excused,
    is_question,
    line_of,
    plaintext_on_disk,
    shown,
)
from fixtures.runbook.section import RegimeUnderAudit, _shifted, backed_up_by
from fixtures.runbook.text import Section, parse_runbook, placeholders, read_runbook
from fixtures.secrets import Secret
from tests.unit.test_find import archive

SCRIPT = "/root/.runbook.md"


def trace(*lines):
    return Trace(SCRIPT, "".join(f"{line}\n" for line in lines))


BEGIN = (
    f'7 1.0 execve("/usr/bin/bash", ["bash", "{SCRIPT}"], 0x1 /* 9 vars */) = 0',
    '7 1.1 write(771</dev/null>, "+step 12 40 0  : incus stop a\\n", 22) = 22',
    "7 1.2 clone(child_stack=NULL, flags=SIGCHLD) = 8",
    '8 1.3 execve("/usr/bin/incus", ["incus", "stop", "a"], 0x1 /* 9 vars */) = 0',
)


def test_a_program_of_a_script_that_ends_before_its_parent_says_that_it_began():
    script, nested = trace(
        *BEGIN,
        "8 1.4 vfork( <unfinished ...>",
        '9 1.5 execve("/usr/bin/rmdir", ["rmdir", "x"], 0x1 /* 9 vars */) = 0',
        "9 1.6 +++ exited with 1 +++",
        "8 1.7 <... vfork resumed>) = 9",
        "8 1.8 +++ exited with 0 +++",
    ).commands()
    assert not script.is_nested and nested.is_nested
    assert nested.status == 1


def test_a_program_with_its_line_status_and_words():
    (run,) = trace(
        *BEGIN,
        "8 1.4 clone3({flags=CLONE_VM|CLONE_THREAD} => {parent_tid=[9]}, 88) = 9",
        '9 1.5 write(2</dev/null>, "Error: no\\n", 10) = 10',
        "9 1.6 +++ exited with 1 +++",
        "8 1.8 +++ exited with 1 +++",
    ).commands()
    assert (run.line, run.argv, run.status) == (12, ("incus", "stop", "a"), 1)
    assert (run.said, run.is_hidden, run.is_nested) == ("Error: no", True, False)
    assert run.callers == (40,)
    assert run.begin == pytest.approx(0.3)
    assert run.seconds == pytest.approx(0.5)


def test_what_a_program_said_that_has_not_ended_is_masked_and_short():
    Secret("hunter2-not-to-be-seen")
    said = "more\\n" * 50 + "\\33[31mpassphrase hunter2-not-to-be-seen is wrong"
    (run,) = trace(*BEGIN, f'8 1.4 write(2<pipe:[1]>, "{said}\\n", 240) = 240').commands()
    assert run.status is None
    assert "hunter2" not in run.said and "\33" not in run.said
    assert "passphrase" in run.said and run.said.count("more") == 2


def test_a_program_that_was_interrupted_in_the_trace():
    (run,) = trace(
        *BEGIN[:3],
        '8 1.3 execve("/usr/bin/incus", ["incus", "stop", "a"], 0x1 /* 9 vars */ <unfinished ...>',
        "7 1.31 +++ exited with 0 +++",
        "8 1.32 <... execve resumed>) = 0",
        "8 1.5 +++ killed by SIGKILL +++",
    ).commands()
    assert run.status == 137


def test_a_program_that_another_takes_the_place_of_is_known_by_both():
    seen = trace(
        *BEGIN[:3],
        '8 1.3 execve("/bin/sudo", ["sudo", "-u", "pass", "incus"], 0x1 /* 9 vars */) = 0',
        '8 1.4 execve("/bin/incus", ["incus"], 0x1 /* 9 vars */) = 0',
        "8 1.5 +++ exited with 0 +++",
    )
    assert [argv for _, argv in seen.started] == [("sudo", "-u", "pass", "incus"), ("incus",)]
    assert [run.argv for run in seen.commands()] == [("incus",)]


def test_complaints_of_bash_are_those_of_its_own():
    seen = trace(
        *BEGIN[:2],
        f'7 1.2 write(2<pipe:[3]>, "{SCRIPT}: line 14: cd: x: No such file\\n", 50) = 50',
        '7 1.3 write(2<pipe:[3]>, "somebody: line 15: says\\n", 50) = 50',
        f'7 1.4 write(2<pipe:[3]>, "{SCRIPT}: line 16: warning: setlocale: no\\n", 50) = 50',
    )
    assert [(each.line, each.said) for each in seen.complaints] == [(14, "cd: x: No such file")]


def test_complaints_of_a_script_and_of_a_file_that_bash_reads_are_found_by_their_words():
    seen = trace(
        *BEGIN[:3],
        '8 1.3 execve("./x.sh", ["./x.sh", "a"], 0x1 /* 9 vars */) = 0',
        '8 1.4 write(2<pipe:[3]>, "./x.sh: 3: lxc: not found\\n", 50) = 50',
        '7 1.5 write(771</dev/null>, "+step 1 9 0  lib.sh: call\\n", 22) = 22',
        '7 1.6 write(2<pipe:[3]>, "lib.sh: line 2: docker: command not found\\n", 50) = 50',
    )
    source = Section("x", 1, {3: "prose", 5: "lxc stop a", 6: "docker stop a"})
    assert [line_of(source, each) for each in seen.complaints] == [5, 6]


def test_what_a_word_processor_wrote_is_seen():
    assert shown(["stop", "a b", "für"]) == "stop 'a b' für"
    assert shown(["“a”", "––x", "b\u200b", "c\u00a0d"]) == (
        r"'\u201ca\u201d' '\u2013\u2013x' 'b\u200b' 'c\xa0d'"
    )
    assert "–" not in shown([Secret("a–secret–of–the–lab").reveal()])
    assert "secret" not in shown([Secret("a–secret–of–the–lab").reveal()])


INFO, STOP, RESTORE = (f"incus {verb} x".split() for verb in ("info", "stop", "restore"))
QUESTIONS = {
    "if incus info x; then": (INFO, True),
    "if incus info x; then incus restore x; fi": (INFO, True),
    "if incus info x && true; then incus restore x; fi": (RESTORE, False),
    "  while ! incus info x; do sleep 1; done": (INFO, True),
    "! grep -q x y": (["grep"], True),
    "incus info x || incus create i x": (INFO, True),
    "incus info x && incus delete x": (INFO, True),
    "incus info x; status=$?": (INFO, True),
    "incus stop x && incus start x": (STOP, False),
    "incus stop x || incus stop --force x": (STOP, True),
    **dict.fromkeys(
        [f"incus stop x || {put}" for put in ("true", ":", "echo no", "{ echo no; }", "continue")],
        (STOP, False),
    ),
    **dict.fromkeys(
        ["incus stop x", "incus stop x || exit 0", "incus stop x; a=$?"], (STOP, False)
    ),
}


@pytest.mark.parametrize("text", QUESTIONS)
def test_questions(text):
    argv, expected = QUESTIONS[text]
    run = CommandRun(1, tuple(argv), status=1)
    assert is_question(Section("x", 1, {1: text}), 1, run) is expected


def test_a_question_may_go_on_over_lines_and_be_that_of_a_function():
    lines = {1: "is_there() { incus info x; }", 3: "incus info x \\", 4: "  || incus launch x"}
    source = Section("x", 1, {**lines, 6: "if is_there; then"})
    run = CommandRun(3, tuple(INFO), status=1)
    assert is_excused(source, 3, run)
    assert is_excused(source, 1, replace(run, line=1, callers=(6,)))
    assert not is_excused(source, 1, replace(run, line=1))
    assert not is_excused(source, 1, CommandRun(1, tuple(STOP), status=1, callers=(6,)))


def test_what_went_well_when_it_was_tried_again_is_no_failure():
    section, argv = Section("x", 1, {1: "x"}), ("incus", "start", "a")
    first, second = CommandRun(1, argv, 1.0, 0.1, 1), CommandRun(1, argv, 2.0, 0.1, 0)
    assert not failures(Performed(section, section, 0, 1.0, (first, second)))
    assert failures(Performed(section, section, 0, 1.0, (replace(second, begin=0.5), first)))


def test_what_failed_in_a_script_that_is_not_known_is_the_cause():
    source = Section("x", 1, {1: "make apply"})
    make = CommandRun(1, ("make", "apply"), 1.0, 2.0, 2)
    tofu = CommandRun(1, ("tofu", "apply"), 1.5, 0.5, 1, is_nested=True)
    ((line, words),) = failures(Performed(source, source, 0, 3.0, (make, tofu)))
    assert line == 1
    assert words.endswith("status 2; in it `tofu apply` ended with status 1")


@pytest.mark.parametrize(
    "argv, status, absent, is_failure",
    [
        (("incus", "stop", "grafana01"), 1, (), True),
        (("incus", "stop", "grafana01"), 1, ("grafana01",), False),
        *((argv, 1, (), False) for argv in (("grep", "x"), ("test", "x"))),
        (("cat",), 141, (), False),
        (("incus",), 0, (), False),
    ],
)
def test_an_answer_and_what_cannot_be_had_here_is_no_failure(argv, status, absent, is_failure):
    section, run = Section("x", 1, {1: "x"}), CommandRun(1, argv, 0.0, 0.1, status)
    done = Performed(section, section, 0, 1.0, (run,), absent=frozenset(absent))
    assert bool(failures(done)) is is_failure


@pytest.mark.parametrize("verb, line", [("delete", 9), ("show", None)])
def test_a_program_of_a_script_is_found_by_its_verbs(verb, line):
    source = Section("x", 1, {4: "./do.sh", 9: 'incus storage volume delete local "$1"'})
    run = CommandRun(4, ("incus", "storage", "volume", verb, "local", "v"), is_nested=True)
    assert line_of(source, run) == line


def export(volume, pack):
    """The first blocks of an export."""
    index = f"name: {volume}\nbackend: btrfs\n".encode()
    files = {"backup/index.yaml": index, "backup/volume.bin": bytes(range(256)) * 1172}
    return pack(archive(files))[:4096]


PACKINGS = {"none": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("name", PACKINGS)
def test_an_export_is_found_on_the_disk_however_it_is_packed(name):
    head = export("step-ca01-data", PACKINGS[name])
    part = bytes(8192) + head + bytes(4096)
    (found,) = plaintext_on_disk([part], ["grafana01-data", "step-ca01-data"], {})
    assert "an export of volume step-ca01-data" in found.what
    assert not plaintext_on_disk([part], ["grafana01-data"], {})
    assert not plaintext_on_disk([bytes(4096) + bytes(100) + head], ["step-ca01-data"], {})
    # Another export that only speaks of it.
    other = export("state\nvolume: step-ca01-data", PACKINGS[name])
    assert not plaintext_on_disk([bytes(4096) + other], ["step-ca01-data"], {})
    (found,) = plaintext_on_disk([bytes(4096) + other], [], {"the key": b"volume: step-ca01"})
    assert found.what.endswith("the text of the key")
    deep = PACKINGS[name](Random(1).randbytes(300_000) + b"the very key")
    assert plaintext_on_disk([bytes(4096) + deep], [], {"it": b"the very key"})


def test_a_heading_is_found_by_its_beginning_if_that_is_one_heading(tmp_path):
    text = "# Restore (fast)\n\n    incus stop a\n\n# Restores\n\n    incus stop b\n"
    book = parse_runbook(f"{text}\n# Prose\n\nCall somebody.\n")
    assert book.section("Restore (").line == 1
    for heading, why in (
        ("Restore", "2 headings 'Restore'"),
        ("Nothing", "no heading 'Nothing'"),
        ("Prose", "nothing is to be typed below 'Prose'"),
    ):
        with pytest.raises(UsageError, match=why):
            book.section(heading)
    with pytest.raises(UsageError, match="runbook"):
        read_runbook(tmp_path / "missing.md")


def test_words_are_replaced_in_one_pass_and_whole():
    section = Section("x", 1, {1: "a01 a01-data ab01 ./a01.tar $FILES FILE old older old-one"})
    words = {
        "a01": "b01",
        "a01-data": "a01-x",
        "./a01.tar": "/srv/f",
        "FILE": "/srv/g",
        "old": "new",
    }
    assert section.filled(words).text == "b01 a01-x ab01 /srv/f $FILES /srv/g new older old-one"


FOUND = (
    "<a b>",
    "<v>",
    "{{ c }}",
    "YYYY-MM-DD",
    "[snapshot]",
    "{name}",
    "SNAP_NAME",
    "FILE",
    "...",
)


def test_placeholders_of_many_forms_and_what_is_none():
    text = {1: "# <name>", 2: "sort <in >out", 3: 'x "${NAME}" "$FILE" [a] {} -X POST A_B=1 a...b'}
    text |= {number: f"incus stop {each}/x" for number, each in enumerate(FOUND[:-1], 4)}
    text[20] = "incus stop ..."
    assert [each for _, each in placeholders(Section("x", 1, text))] == [*FOUND]


@pytest.mark.parametrize(
    "name, shifted",
    [
        ("daily-20240301", "daily-20240228"),
        ("x-2024-03-01T02.tar", "x-2024-02-28T02.tar"),
        ("n20249999-123456789", "n20249999-123456789"),
    ],
)
def test_dates_in_names_go_back(name, shifted):
    assert _shifted(name, timedelta(days=2)) == shifted


BOOK = """
# All
    for name in grafana01 mosquitto01 loki01; do incus stop $name; done
# Its own
    incus stop mosquitto01
# Example
    incus stop grafana01
# Bucket
    incus storage bucket import terraform-state x atlas-terraform-state
# Lost
    incus start grafana01
"""


def test_of_several_sections_that_one_makes_the_backup_which_is_about_the_service(tmp_path):
    made = dict.fromkeys(["All", "Its own", "Example"], "snapshot") | {"Bucket": "native"}
    mapped = {"Lost": "snapshot", "Its own": "key-compromise"}
    about = {"file": "book.md", "example": "grafana", "backups": made, "sections": mapped}
    fleet = load_fleet(DEFAULT_FLEET).model_copy(update={"runbook": RunbookMap(**about)})
    book = parse_runbook(BOOK)
    parts = {part.name: part for part in fleet.parts}

    def by(name, kind):
        made = backed_up_by(book, fleet.runbook, fleet, parts[name], kind)
        return made and made.heading

    assert [by(each, "snapshot") for each in ("mosquitto", "loki", "grafana", "step-ca")] == [
        *("Its own", "All", "Example", "Example")
    ]
    # What one service exports by itself says nothing of another.
    assert [by(each, "native") for each in ("grafana", "atlas-terraform-state")] == [None, "Bucket"]
    (tmp_path / "book.md").write_text(BOOK)
    run = SimpleNamespace(fleet=fleet, runbook=tmp_path / "book.md")
    # It is mapped, and no service of it has such a drill; and no section restores the bucket.
    assert [each.heading for each in never_performed(run)] == ["Bucket"]
    fleet.runbook.backups.clear()
    assert [each.heading for each in never_performed(run)] == [
        "All",
        "Its own",
        "Example",
        "Bucket",
    ]


TABLES = """\
# By timer

```bash
cat >/etc/cron.d/save <<E
# m h
0 2 * * *  root  /usr/local/bin/save.sh >>/var/log/x 2>&1
@weekly root /usr/local/bin/week.sh
E
cat >/etc/systemd/system/save.service <<E
[Service]
ExecStart=/usr/local/bin/unit.sh --all
E
printf '[Timer]\\nOnCalendar=daily\\n' >/etc/systemd/system/save.timer
systemctl daemon-reload
```

```bash
0 3 * * * /usr/local/bin/plain.sh
```
"""


def test_what_a_timer_starts_is_run_where_its_table_is_written_by_a_here_document():
    section = parse_runbook(TABLES).section("By timer")
    typed = RegimeUnderAudit(None, section, [])._typed()
    written = {number: line for number, line in typed.lines.items() if "env -i" not in line}
    assert written == {number: section.lines[number] for number in range(4, 15)}
    started = [typed.lines[number] for number in (15, 18)]
    assert [line.count("env -i") for line in started] == [3, 1]
    assert re.findall(r"/usr/local/bin/(\w+)", "".join(started)) == [
        "save",
        "week",
        "unit",
        "plain",
    ]
    untimed = TABLES.replace("OnCalendar", "OnFailure")
    typed = RegimeUnderAudit(None, parse_runbook(untimed).section("By timer"), [])._typed()
    assert "unit.sh" not in typed.lines[15]
