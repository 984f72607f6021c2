"""Runbooks of many shapes, each performed after a real loss: the right verdict and findings."""

import textwrap

import pytest

from fixtures.evidence.record import Verdict
from fixtures.runbook.text import parse_runbook

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


SHAPES = {
    "a plain block": fenced(RESTORE),
    "a fence of tildes and sh": fenced(RESTORE, "sh").replace("```", "~~~"),
    "no language": fenced(RESTORE, ""),
    "indented": indented(RESTORE),
    "in a list": "## Restore\n\n1. Go:\n" + textwrap.indent(f"```shell\n{RESTORE}```\n", "   "),
    "a listing of dollars": indented(listing("$ ", "| NAME | STATE |\n")),
    "a listing of root": fenced(listing("# "), ""),
    "a listing in brackets": fenced(listing("[root@atlas ~]# "), ""),
    "blocks that are no shell": fenced(RESTORE)
    + "\n```yaml\nincus: stop\n```\n\n```\n+------+-----+\n| NAME | X   |\n+------+-----+\n```\n",
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_typed_is_the_same_in_every_shape(name):
    assert parse_runbook(SHAPES[name]).section("Restore").text == RESTORE.rstrip()


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
        "The storage volume is still in use",
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
