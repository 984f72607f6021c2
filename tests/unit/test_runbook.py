"""What a runbook says, and what strace says of a section, without a lab."""

import bz2
import gzip
import lzma
from datetime import timedelta

import pytest

from fixtures.errors import UsageError
from fixtures.runbook.perform import (
    CommandRun,
    Performed,
    Trace,
    failures,
    is_question,
    line_of,
    plaintext_on_disk,
)
from fixtures.runbook.section import _shifted
from fixtures.runbook.text import Section, parse_runbook, placeholders, read_runbook
from fixtures.secrets import Secret
from tests.unit.test_find import archive

SCRIPT = "/root/.runbook.md"


def trace(*lines):
    return Trace(SCRIPT, "".join(f"{line}\n" for line in lines))


BEGIN = (
    f'7 1.0 execve("/usr/bin/bash", ["bash", "{SCRIPT}"], 0x1 /* 9 vars */) = 0',
    '7 1.1 write(200</dev/null>, "+step 12 incus stop a\\n", 22) = 22',
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
    assert run.begin == pytest.approx(0.2)
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
    )
    assert seen.complaints == [(14, "cd: x: No such file")]


QUESTIONS = {
    "if incus info x; then": True,
    "  while ! incus info x; do sleep 1; done": True,
    "! grep -q x y": True,
    "incus info x || incus create i x": True,
    "incus info x && incus delete x": True,
    "incus stop x || true": False,
    "incus stop x || :": False,
    "incus stop x || echo failed": False,
    "incus stop x": False,
}


@pytest.mark.parametrize("text", QUESTIONS)
def test_questions(text):
    assert is_question(Section("x", 1, {1: text}), 1) is QUESTIONS[text]


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
    section = Section("x", 1, {1: "a01 a01-data ab01 ./a01.tar $FILES FILE"})
    words = {"a01": "b01", "a01-data": "a01-x", "./a01.tar": "/srv/f", "FILE": "/srv/g"}
    assert section.filled(words).text == "b01 a01-x ab01 /srv/f $FILES /srv/g"


def test_comments_have_no_placeholders():
    section = Section("x", 1, {1: "# <name>", 2: "sort <in >out", 3: "incus stop <a b> {{ c }}"})
    assert placeholders(section) == [(3, "<a b>"), (3, "{{ c }}")]


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
