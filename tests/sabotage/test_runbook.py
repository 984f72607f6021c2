"""The drill of the runbook, seen red for each of its rules, and silent where all is well."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

import drills.test_runbook as runbook_drill
from fixtures.audit.audit import Audit
from fixtures.errors import CouldNotLook
from fixtures.evidence.record import AuditVerdict
from fixtures.plugin.audits import DEFAULT, Runbook
from fixtures.runbook.examine import checks_of, examine
from fixtures.runbook.shell import known_of, targets_of

HERE = Path(__file__).parent
SEED = HERE.parents[2] / "shared" / "seed" / "backup-and-disaster-recovery.md"
SEEN = {
    "1": 'unknown command "local" for "incus storage volume snapshot"',
    "2": 'unknown command "restore" for "incus storage volume"',
    "3": "still in use (instance/mosquitto01)",
    "4": "goes unnoticed (|| :)",
    "5": "still in use (profile/shared)",
    "6": "used by the running mosquitto01",
    "7": "lists no snapshots",
    "8": "deletes no snapshot",
    "9": "lists no snapshots",
    "10": "expands no pattern on the instance",
    "11": "a failed stop exports the volume of a running service",
    "12": "lies on the disk before it is encrypted",
    "13": "the plaintext can be recovered",
    "14": "a password in a URL",
    "14b": "1000 hits at most",
    "15": "to the very volume that is to be saved",
    "16": "compressed by gzip",
    "17": "not that it is the right volume",
    "20": "not what is in one",
    "flags": "unknown flag: --forcefully",
    "arguments": "1 arguments where",
    "names": "there is no instance mosquito01",
    "gpg": "gpg has no option --symetric",
    "tofu": 'tofu has no command "aply"',
    "passphrase": "a secret behind --passphrase",
    "swallowed": "thrown away (2>/dev/null)",
    "glob": "an unquoted pattern decides what is removed",
}


@pytest.fixture(scope="module")
def known(target, fleet):
    found = known_of(target.incus.for_project(fleet.source_project), None)
    local = found.volumes[fleet.pool] | {"shared-data"}
    users = {**found.used_by, "shared-data": frozenset({"profile/shared", "instance/loki01"})}
    buckets = {**found.buckets, "terraform-state": frozenset({"atlas-terraform-state"})}
    volumes = {**found.volumes, fleet.pool: local, "terraform-state": frozenset()}
    return replace(found, volumes=volumes, used_by=users, buckets=buckets)


@pytest.fixture(scope="module")
def defects(target, known):
    """What is found in the defective runbook, and in it with section 13 joined to 12."""
    text = (HERE / "defective-runbook.md").read_text()
    texts = {"as it is": text, "joined": text.replace("## 13\n", "")}
    return {name: examine(each, target.help_of, known).findings for name, each in texts.items()}


def sections(text):
    """Title -> the lines of its section."""
    found, title = {}, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("## "):
            title = line[3:]
        found.setdefault(title, []).append(number)
    return found


@pytest.mark.parametrize("title", SEEN)
def test_each_defect_is_found_where_it_stands(defects, title):
    # 13 needs what 12 has done: both are followed in one section.
    if title == "13":
        assert any(SEEN[title] in each.what for each in defects["joined"])
        return
    found = defects["as it is"]
    lines = sections((HERE / "defective-runbook.md").read_text())[title]
    seen = [each.what for each in found if each.line in lines]
    assert any(SEEN[title] in what for what in seen), seen
    assert all(each.advice for each in found)


def test_the_defective_runbook_fails_the_drill(target, known):
    audit = Audit("runbook", "runbook")
    spoiled = Runbook(HERE / "defective-runbook.md", target, known)
    runbook_drill.test_every_command_of_the_runbook(audit, spoiled)
    assert audit.verdict is AuditVerdict.FINDINGS
    assert re.search(r"line \d+: .*(broken)", audit.failure_message())


def test_the_corrected_runbook_is_in_order(target, fleet):
    plain = known_of(target.incus.for_project(fleet.source_project), None)
    seen = examine(DEFAULT.read_text(), target.help_of, plain)
    assert [(each.line, each.what) for each in seen.findings] == []
    assert seen.unlooked == []
    assert seen.looked["incus"] > 20


def test_a_client_that_is_not_installed_is_not_looked_at(known):
    def request(argv):
        raise CouldNotLook(f"{argv[0]} is not installed here")

    seen = examine("```bash\nincus list\ntofu plan\n```\n", request, known)
    assert [each.why for each in seen.unlooked] == [
        "incus is not installed here",
        "tofu is not installed here",
    ]
    audit = Audit("runbook", "runbook")
    audit.take(checks_of(seen))
    assert audit.verdict is AuditVerdict.NOT_VERIFIED


def test_make_targets_are_those_of_the_makefile(target, known, tmp_path):
    makefile = tmp_path / "Makefile"
    makefile.write_text("VAR := $(shell touch ran)\nbackup list: dep\n\ttrue\n.PHONY: backup\n")
    targets = targets_of(makefile)
    assert targets == {"backup", "list"}
    text = "```bash\nmake backup\nmake restore\n```\n"
    seen = examine(text, target.help_of, replace(known, targets=targets))
    assert [each.what for each in seen.findings] == ["the Makefile has no target restore"]
    seen = examine(text, target.help_of, known)
    assert len(seen.unlooked) == 2
    assert list(tmp_path.iterdir()) == [makefile]


SILENT = """
# no alarm
```bash
set -euo pipefail
0 2 * * * /usr/local/bin/backup.sh >>/var/log/backup.log 2>&1
incus --project atlas storage volume snapshot create local mosquitto01-data "x-$(date +%s)"
if ! incus info mosquitto01 >/dev/null; then echo "not there" >&2; exit 1; fi
incus stop mosquitto01 --timeout 30
incus storage volume snapshot restore local custom/mosquitto01-data x
incus start mosquitto01
incus file push ./dashboards/*.json mosquitto01/srv/
incus storage volume show local mosquitto01-data | grep size
curl -fsS --header @/run/token https://grafana.atlas.internal/api/health
GPG_TTY=$(tty) gpg --list-keys
```
```hcl
incus storage volume snapshot local x y
```
"""


def test_correct_forms_are_silent(target, known):
    text = SILENT.replace("local custom/mosquitto01-data", "local mosquitto01-data")
    seen = examine(text, target.help_of, known)
    assert [(each.line, each.what) for each in seen.findings] == []


def test_nothing_of_a_runbook_is_run(target, known, tmp_path):
    typed = f"touch {tmp_path}/a\ntar -cf {tmp_path}/b.tar /etc/hostname\n$(touch {tmp_path}/c)"
    examine(f"```bash\n{typed}\n```\n", target.help_of, known)
    assert list(tmp_path.iterdir()) == []


def test_the_runbook_of_atlas_has_every_known_defect(target, fleet):
    if not SEED.exists():
        pytest.skip(f"{SEED} is not on this machine; defective-runbook.md stands for it")
    plain = known_of(target.incus.for_project(fleet.source_project), None)
    names = [each.volumes[0].name for each in fleet.services]
    users = {name: frozenset({f"profile/{name.removesuffix('01-data')}"}) for name in names}
    pools = {**plain.volumes, "terraform-state": frozenset()}
    buckets = {**plain.buckets, "terraform-state": frozenset({"atlas-terraform-state"})}
    world = replace(plain, used_by=users, volumes=pools, buckets=buckets)
    found = examine(SEED.read_text(), target.help_of, world).findings
    where = {each.line for each in found}
    # Line -> number in runbook-defects.md, one of each that a reading can tell.
    for line in (
        60,
        100,
        112,
        247,
        501,
        448,
        451,
        71,
        426,
        130,
        90,
        173,
        464,
        319,
        141,
        81,
        482,
        199,
    ):
        assert line in where, line
