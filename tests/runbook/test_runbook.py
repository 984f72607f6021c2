"""Runbooks of many shapes, each performed after a real loss: the right verdict and findings."""

import textwrap

import pytest

from drills.test_runbook import test_section_recovers as recover
from fixtures.evidence.judge import FILES_NOW
from fixtures.evidence.record import Verdict
from fixtures.plugin.by_hand import deploy_others
from fixtures.plugin.fixtures import Workplace
from fixtures.runbook.perform import failures
from fixtures.runbook.perform import perform as play
from fixtures.runbook.section import ServiceSection
from fixtures.runbook.text import parse_runbook, read_runbook
from tests.runbook.conftest import new_drill, stand_up
from tests.sabotage.acts import attempt

pytestmark = pytest.mark.runbook

RESTORE = """\
incus stop mosquitto01
incus storage volume snapshot restore local mosquitto01-data before
incus start mosquitto01
"""


def fenced(text, info="bash"):
    return f"# Broker\n\n## Restore\n\nTyped at night:\n\n```{info}\n{text}```\n"


def indented(text):
    return "# Broker\n\n## Restore\n\n" + textwrap.indent(text, "    ")


def listing(prompt, noise=""):
    return "".join(f"{prompt}{line}\n{noise}" for line in RESTORE.splitlines())


PROMPTS = (
    *("# ", "[root@atlas ~]# ", "atlas:~ # ", "root@atlas /srv # ", "ops@atlas ~ % ", "atlas$ "),
    *("➜  ~ ", "(venv) ops@atlas:~$ ", "[12:01:02] ops@atlas:~$ "),
)
SHAPES = {
    "a plain block": fenced(RESTORE),
    "a fence of tildes and sh": fenced(RESTORE, "sh").replace("```", "~~~"),
    "no language": fenced(RESTORE, ""),
    "indented": indented(RESTORE),
    "in a list": "## Restore\n\n1. Go:\n" + textwrap.indent(f"```shell\n{RESTORE}```\n", "   "),
    "a listing of dollars": indented(listing("$ ", "| NAME | STATE |\n")),
    **{f"a listing with {prompt}": fenced(listing(prompt, "Done it\n"), "") for prompt in PROMPTS},
    "a listing below a comment": fenced(f"# first\n{listing('$ ')}", "bash session"),
    "a listing of root with comments": fenced(
        listing("# ", "# Ok, next\n").replace("# ", "# Stop\n# ", 1), "console"
    ),
    "a listing called text": fenced(listing("$ ", "ok\n"), "text"),
    "a directive": fenced(RESTORE, "{code-block} bash"),
    "a directive with options": fenced(":linenos:\n:caption: it\n" + RESTORE, "{code-block} bash"),
    "a directive with YAML": fenced("---\nlinenos: true\n---\n" + RESTORE, "{code} sh"),
    "a class": fenced(RESTORE, "{#x .bash .numberLines}"),
    "a name of shell": fenced(RESTORE, "shell-script"),
    "an admonition": "## Restore\n\n!!! note\n\n    Do it now.\n\n"
    + textwrap.indent(fenced(RESTORE).partition("night:\n")[2], "    "),
    "a quotation": fenced(RESTORE).replace("Typed", "> # Typed"),
    "a list": "## Restore\n\n1. # Type\n\n" + textwrap.indent(f"```\n{RESTORE}```\n", "   "),
    "an anchor": fenced(RESTORE).replace("## ", '## <a id="r"></a>'),
    "a link": fenced(RESTORE).replace("## Restore", "## **[Restore](#x)**"),
    "blocks that are no shell": fenced(RESTORE)
    + "\n```yaml\nincus: stop\n```\n\n```\n+------+-----+\n| NAME | X   |\n+------+-----+\n```\n"
    + "\n```\nDevice data added\n```\n\n```text\nincus stop x\n```\n<!--\n```\nincus x\n```\n-->",
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_typed_is_the_same_in_every_shape(name):
    assert parse_runbook(SHAPES[name]).section("Restore").text == RESTORE.rstrip()


def test_a_file_as_windows_writes_it_keeps_its_lines(tmp_path):
    text = "\ufeff---\n# Restore\ntitle: x\n---\nForm\x0cfeed\u2028\n\n" + fenced(
        f"# \x85\n{RESTORE}"
    )
    (tmp_path / "book.md").write_bytes(text.replace("\n", "\r\n").encode())
    section = read_runbook(tmp_path / "book.md").section("Restore")
    lines = text.split("\n")
    assert {lines[number - 1] for number in section.lines} == {*section.lines.values()}
    assert section.text.endswith(RESTORE.rstrip())


def test_who_becomes_root_has_another_prompt():
    text = fenced("$ sudo -i\n" + listing("# ", "ok\n"), "console")
    assert parse_runbook(text).section("Restore").text == f"sudo -i\n{RESTORE}".rstrip()


RECOVERING = {
    "a plain block": fenced(RESTORE),
    "a listing": fenced(listing("anna@atlas:~$ sudo ", "done.\n"), "console"),
    "a continued line": fenced(RESTORE.replace("local mosq", "local \\\n    mosq")),
    "a function and an array": fenced(
        "set -Eeuo pipefail\nwho=(local mosquitto01-data)\n"
        'call() { "${INCUS:-incus}" "$@"; }\n'
        "call stop mosquitto01 || exit 3\n"
        'call storage volume snapshot restore "${who[@]}" before\ncall start mosquitto01\n'
    ),
    "a script in a here-document": fenced(
        'cat >again.sh <<"END"\n#!/bin/sh\nset -e\nincus stop "$1"\n'
        'incus storage volume snapshot restore local "$1-data" "$2"\nincus start "$1"\nEND\n'
        "sh again.sh mosquitto01 before\n"
    ),
    "a question": fenced(
        "set -e\nif incus info nobody01 >/dev/null 2>&1; then exit 9; fi\n"
        "until incus stop mosquitto01; do sleep 0.1; done\n"
        "incus storage volume snapshot list local mosquitto01-data -f csv | grep -q '^before,'\n"
        "incus storage volume snapshot restore local mosquitto01-data before\n"
        "! incus info nobody01 2>/dev/null\n"
        "incus info nobody01 2>/dev/null || incus start mosquitto01\n"
    ),
    "a job in the background": fenced(RESTORE + "sleep 600 &\n"),
}


@pytest.mark.parametrize("name", RECOVERING)
def test_what_restores_recovers(perform, name):
    drill = perform(RECOVERING[name])
    assert drill.verdict is Verdict.RECOVERED, drill.reason
    assert not drill.findings
    assert drill.procedure == "runbook"
    assert any("snapshot restore" in command.command for command in drill.commands)


PLACEHOLDER = "a placeholder that nothing fills"
FAILING = {
    "a wrong verb": (fenced(RESTORE.replace("snapshot restore", "restore")), 'command "restore"'),
    "a placeholder": (
        indented(RESTORE.replace("before", "<name of the snapshot>")),
        f"line 6: {PLACEHOLDER}: <name of the snapshot>",
    ),
    "a placeholder in quotes": (
        fenced(RESTORE.replace("before", '"<snapshot>"')),
        f"line 9: {PLACEHOLDER}: <snapshot>",
    ),
    "the other client": (fenced(RESTORE.replace("incus", "lxc")), "lxc: command not found"),
    "a confirmation": (
        fenced('read -p "Sure? " yes && [ "$yes" = y ] || exit 1\n' + RESTORE),
        "ended with status 1",
    ),
    "an open quote": (fenced(RESTORE + "echo 'ready\n"), "unexpected EOF"),
    "a stop at the first error": (
        fenced("set -e\nincus storage volume delete local mosquitto01-data\n" + RESTORE),
        "status 1: Error: The storage volume is still in use",
    ),
    "nothing that restores": (fenced("incus list\n"), ""),
    "a service left stopped": (fenced(RESTORE.rpartition("incus start")[0]), "is Stopped"),
}


@pytest.mark.parametrize("name", FAILING)
def test_what_fails_is_named_with_its_line(perform, name):
    text, words = FAILING[name]
    drill = perform(text)
    expected = Verdict.WRONG_DATA if name.startswith("nothing") else Verdict.NOT_RECOVERED
    assert drill.verdict is expected, drill.reason
    assert words in drill.reason


def finding(drill, words):
    found = [each for each in drill.findings if words in each.what]
    assert len(found) == 1, drill.findings
    return found[0]


def test_hidden_errors_are_wrong_data_although_the_section_ends_well(perform):
    text = fenced(
        "for each in mosquitto01; do\n"
        '  incus stop "$each" 2>/dev/null || true\n'
        '  incus storage volume restore local "$each-data" before &>/dev/null || :\n'
        '  incus start "$each" >/dev/null 2>&1 || true\ndone\necho "all is well"\n'
    )
    drill = perform(text)
    assert drill.verdict is Verdict.WRONG_DATA
    seen = finding(drill, "error hidden")
    assert seen.line == 10
    assert 'unknown command "restore"' in seen.what


def test_an_error_without_an_end_is_a_finding_although_data_came_back(perform):
    drill = perform(fenced("cd /no/such/place\nincus nonsense | cat\n" + RESTORE))
    assert drill.verdict is Verdict.RECOVERED
    assert [each.line for each in drill.findings] == [8, 9]
    assert "No such file" in drill.findings[0].what


def test_a_passphrase_in_the_arguments_is_seen_and_not_shown(perform, stage):
    text = fenced(
        'gpg --batch --passphrase "$(cat /etc/atlas-drills/passphrase)" --symmetric '
        "--pinentry-mode loopback --output x.gpg /etc/passwd\n" + RESTORE
    )
    drill = perform(text)
    assert finding(drill, "a secret in the arguments of gpg").line == 8
    assert stage.run_passphrase.reveal() not in drill.model_dump_json()
    by_file = text.replace('--passphrase "$(cat ', "--passphrase-file ").replace(')"', "")
    assert not perform(by_file.replace("x.gpg", "y.gpg")).findings


def test_what_a_section_leaves_is_found(perform):
    drill = perform(fenced(RESTORE + "date >/tmp/restored-at\nincus stop --force mosquitto01\n"))
    finding(drill, "/tmp/restored-at")
    finding(drill, "instance mosquitto01 ran before, and was left stopped")
    assert drill.verdict is Verdict.NOT_RECOVERED


def test_what_is_gone_of_a_backup_that_was_not_seen_before_its_start_is_named(perform):
    drill = perform(fenced(RESTORE + "incus exec mosquitto01 -- rm /mosquitto/data/also\n"))
    now = next(check for check in drill.checks if check.name == FILES_NOW)
    assert now.detail == "2 of 3 entries are there while it runs; removed since: also"
    assert any("messages are queued for a session" in each for each in drill.not_looked_at)
    assert drill.verdict is Verdict.RECOVERED, drill.reason


def test_what_else_is_typed_about_is_there(performance, broker, stage, fleet, tmp_path, request):
    service, backup = broker
    drill = new_drill(stage, service.spec)
    stand_up(service, drill)
    text = "set -e\nfor each in alertmanager01 mosquitto01; do incus stop $each; done\n"
    by = performance(fenced(text + RESTORE.partition("\n")[2]), drill)
    section = ServiceSection(by, by.runbook.section("Restore"), service)
    section.backup = backup
    deploy_others(Workplace(stage, drill, service.incus, tmp_path, request), fleet, section)
    drill.take_backup(backup, software="mosquitto")
    record = attempt(drill, recover, section)
    section.others[0].remove()
    assert record.verdict is Verdict.RECOVERED, record.reason
    finding(record, "instance alertmanager01 ran before, and was left stopped")


def test_names_of_the_example_are_replaced_and_those_of_the_service_are_not(perform):
    text = fenced(RESTORE.replace("mosquitto", "grafana"))
    assert perform(text, example="grafana").verdict is Verdict.RECOVERED
    drill = perform(fenced(RESTORE), example="grafana")
    assert drill.verdict is Verdict.RECOVERED
    assert "grafana" not in drill.performed


def test_sections_that_are_not_mapped_are_named(performance, stage, fleet):
    drill = stage.new_part(fleet.service("mosquitto"), "snapshot", "rehearsal")
    by = performance(fenced(RESTORE) + "\n## Another\n\n```bash\nincus list\n```\n", drill)
    never = by.runbook.never_performed({"Restore": "snapshot"})
    assert [each.heading for each in never] == ["Another"]


ASKED = "is_there() { incus info nobody01 >/dev/null 2>&1; }\n"
LINES = {
    # What is typed -> lines of what failed, from 1.
    "cd /no/such 2>/dev/null": [1],
    "cd /no/such && ls": [1],
    "alias i=incus\ni list >/dev/null": [],
    "export LC_ALL=de_DE.UTF-8\ntrue": [],
    f"IFS=$'\\n'\n{ASKED}if is_there; then exit 1; fi": [],
    "incus info nobody01 2>/dev/null\nif [ $? -eq 0 ]; then exit 1; fi": [],
    "incus info nobody01 \\\n  || incus list": [],
    "if incus list; then incus delete nobody01; fi": [1],
    "true\nincus delete nobody01 && true": [2],
    "for i in 1; do\nincus delete nobody01 || continue\ndone": [2],
    "f() { incus delete nobody01; }\nf || true": [1],
    "trap 'incus delete nobody01' EXIT\ntrue": [1],
    "cat >s <<'E'\nlxc list\nincus delete nobody01\ntrue\nE\nsh s": [2, 3],
    "cat >s <<'E'\nf() {\nincus delete nobody01\n}\nE\n. ./s\nf || true": [3],
    "exec 200>lock\nflock 200\nexec 200>&-\nincus delete nobody01": [4],
    "set -x\nset +x\nincus delete nobody01\nset -x\nincus delete nobody02": [3, 5],
    "set +x; incus delete nobody01": [1],
}


def test_what_fails_is_known_from_what_only_asks(sandbox):
    found = {}
    for text in LINES:
        section = parse_runbook(fenced(f"{text}\n")).section("Restore")
        done = play(sandbox, section, "Run book.md", {}, seconds=30)
        found[text] = [line - 7 for line, _ in failures(done)]
    assert found == LINES


WAITING = (
    "tail -f /etc/passwd",
    "until false; do sleep 0.1; done",
    "bash -c 'f() { sleep 9; }; f'",
)


@pytest.mark.parametrize("line", WAITING)
def test_what_a_section_waits_for_is_said_before_its_time_is_over(sandbox, monkeypatch, line):
    monkeypatch.setattr("fixtures.runbook.perform.SLOW_SECONDS", 0.4)
    said = []
    section = parse_runbook(fenced(f"true\n{line}\n")).section("Restore")
    done = play(sandbox, section, "book.md", {}, seconds=2, say=said.append)
    assert done.status is None
    # After 0.4, 0.8 and 1.6 s; on a busy machine bash has not come to the line before the last.
    assert len(said) == 3
    assert said[-1] == f"book.md, line 9: `{line}` goes on; ended after 2 s of the section"
