"""What is drilled, and what an operator sees of it without any Incus."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from fixtures.fleet.model import declared_cells
from fixtures.plugin.collect import (
    ENCRYPTED_ONES,
    NO_DIRECTORY,
    NO_FILE,
    NO_IMAGE,
    NO_SOURCE,
    unanswered,
    why_not,
)
from fixtures.plugin.fixtures import new_clients
from tests.plugin.conftest import ROOT, refused, run_pytest
from tests.unit.test_find import export

SERVICES = ("grafana", "prometheus", "loki", "step-ca", "alertmanager", "mosquitto", "atlantis")
REHEARSALS = "drills/test_restore_from_{0}.py::test_service_restored_from_{0}[{1}-rehearsal]"
OFF_SITE = ("--backups=sftp://nowhere.invalid/backup", "--backups=s3://bucket/prefix")
ENCRYPTED = "drills/test_existing_backups.py::test_newest_encrypted_tarball_of_the_source"


def collected(*options):
    done = run_pytest("--collect-only", "-q", *options)
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_the_ids_say_what_is_drilled_and_words_find_them(tmp_path):
    found = collected(f"--reports={tmp_path}")
    assert list(tmp_path.iterdir()) == [], "collecting makes no report"
    assert len(found) == len(set(found))
    assert {REHEARSALS.format(kind, s) for kind in ("snapshot", "tarball") for s in SERVICES} <= {
        *found
    }
    assert collected("-m", "encrypted_tarball", "-k", "step-ca") == [
        f"{ENCRYPTED}[step-ca-existing]",
        REHEARSALS.format("encrypted_tarball", "step-ca"),
    ]


def test_a_sample_is_a_drill_for_each_number_and_nothing_off_site_is_contacted():
    found = collected(
        "-k", "loki and tarball or rebuild", "-m", "existing", "--sample=2", *OFF_SITE
    )
    assert [id.partition("::")[2] for id in found] == [
        "test_newest_tarball_of_the_source[loki-existing-sample-1]",
        "test_newest_tarball_of_the_source[loki-existing-sample-2]",
        "test_full_rebuild_from_the_backups_that_exist[fleet-existing]",
    ]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--sample=0"], "--sample=0 is no number"),
        (["--seed=3"], "--sample= is no number"),
        (["--backups=sftp://me:secret@host/x"], ""),
        (["--backups=fleets", "--backups="], "--backups is given without a value"),
        (["--fleet", "a", "--fleet=b"], "--fleet is given twice"),
        (["-k", "loki", "-k", "grafana"], "-k is given twice"),
        (["-m", "nosuch or tarball"], "there is no kind of drill nosuch"),
        (["-k", "loki &"], "-k 'loki &': unexpected character"),
        (["mosquitto"], "HINT: drills are selected by words: -k mosquitto"),
        (["--reports=pyproject.toml"], "pyproject.toml: it is no directory"),
        (["--source=drill-x"], "'drill-x' is a drill project by its name, and no source"),
        (["--plan", "--as-of=yesterday"], "--as-of=yesterday"),
    ],
)
def test_a_wrong_option_ends_the_run_before_anything_is_contacted(options, words):
    said = refused(*options)
    assert words in said and "secret" not in said


@pytest.mark.parametrize(
    "options, status", [(["--plan", "-k", "loki and audit"], 0), (["-k=("], 4)]
)
def test_what_is_printed_to_a_closed_output_is_lost_and_that_is_all(options, status):
    command = [sys.executable, "-m", "pytest", "drills", "-p", "no:cacheprovider", *options]
    about = {"cwd": ROOT, "stderr": subprocess.PIPE, "timeout": 60}
    done = subprocess.run(command, preexec_fn=lambda: os.close(1), **about)
    assert (done.returncode, b"Traceback" in done.stderr) == (status, False), done.stderr


def test_a_lab_that_cannot_be_had_by_the_environment_is_refused(tmp_path):
    about = ("-k", "mosquitto and snapshot and rehearsal", f"--reports={tmp_path}")
    done = run_pytest(*about, ATLAS_DRILLS_STATE="there")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "ERROR: ATLAS_DRILLS_STATE is there: not absolute\nHINT: " in done.stderr


def test_without_a_directory_only_snapshots_are_existing_backups():
    found = collected("-m", "existing", "--incus=unix")
    assert len(found) == len(SERVICES)
    assert all("test_newest_snapshot_of_the_source[" in id for id in found)


def test_the_least_critical_service_is_made_by_each_method(tmp_path):
    fleet = yaml.safe_load((ROOT / "fleets" / "atlas.yaml").read_text())
    found = collected("-k", "rebuilt_as_a_copy or rebuilt_by")
    assert [id.partition("[")[2] for id in found] == [
        "prometheus-rehearsal-copy]",
        "prometheus-rehearsal-command]",
    ]
    del fleet["apply"]
    without = tmp_path / "fleet.yaml"
    without.write_text(yaml.safe_dump(fleet))
    assert collected("-k", "rebuilt_by", f"--fleet={without}") == []
    said = refused(f"--fleet={without}", "--provision=command")
    assert "fleet atlas has no `apply` command; nothing was contacted" in said


def test_a_plan_reads_existing_backups_and_loses_nothing(tmp_path):
    options = ("-m", "existing", "-k", "mosquitto or state", "--incus=unix", "--as-of=2026-11-20")
    done = run_pytest("-q", "--plan", *options, f"--backups={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    moment = "2026-11-20T23:59:59.999999+00:00"
    assert f"the newest snapshot of {moment} of volume mosquitto01-data" in done.stdout
    assert f"nothing: there is no tarball of {moment} of mosquitto" in done.stdout
    assert "a bucket on pool terraform-state, from the export, with fresh keys" in done.stdout
    assert done.stdout.count("destroy: nothing; at the end what was made") == 3
    assert "nothing was contacted, made or destroyed" in done.stdout
    options = (*options, "-n", "2", "--drill-projects=drill-a,drill-b")
    options = (*options, "-W", "ignore::pytest.PytestAssertRewriteWarning")
    options = (*options, "-p", "cacheprovider", "-o", "cache_dir=/proc/none")
    lent = run_pytest("-q", "--plan", *options, INCUS_SOCKET="/nowhere")
    assert lent.returncode == 0, lent.stdout + lent.stderr
    assert "use:     project drill-a or drill-b, lent by its operator; emptied" in lent.stdout


def test_a_plan_names_what_was_found_and_what_cannot_be_read(tmp_path):
    (tmp_path / "20261128").mkdir()
    (tmp_path / "20261128" / "x").write_bytes(export("mosquitto01-data"))
    (tmp_path / "loki01-data.tar.gz").write_bytes(b"")
    (tmp_path / "a\nb.tar.lz4").write_bytes(b"\x04\x22\x4d\x18")
    options = ("-m", "existing and tarball", "-k", "mosquitto or loki", "--incus=unix")
    done = run_pytest("-q", "--plan", *options, f"--backups={tmp_path}")
    assert f"{tmp_path}/20261128/x, of 2026-11-28 02:00 UTC by its index; 0 older" in done.stdout
    empty = f"{tmp_path}/loki01-data.tar.gz: loki01-data.tar.gz is empty: it has 0 bytes"
    assert f"read:    nothing: {empty}" in done.stdout
    assert f"not read: {empty}" in done.stdout
    assert f"not read: {tmp_path}/a\\nb.tar.lz4: a\\nb.tar.lz4 is lz4" in done.stdout


def test_a_kind_without_a_class_has_drills_and_no_native_files(fleet):
    service = fleet.service("mosquitto").model_copy(update={"kind": "vaultwarden"})
    assert why_not(service, "snapshot", lacks={"directories"}) is None
    assert why_not(service, "native", "existing", {"directories"}) == NO_FILE


def test_a_client_of_a_ca_that_is_not_drilled_or_not_had_is_named_and_not_made(fleet):
    """By the suite's own verbs and by the runbook's section alike."""
    clients = [fleet.service(name) for name in ("prometheus", "mosquitto", "step-ca")]
    why = {"not_drilled": {"key-compromise": "its root is baked in"}, "depends_on": ("step-ca",)}
    clients += [clients[0].model_copy(update={"name": "baked", **why})]
    small = fleet.model_copy(update={"services": tuple(clients)})
    made = []
    stage = SimpleNamespace(missing=lambda _: {"mosquitto": "no package"})
    place = SimpleNamespace(
        stage=stage,
        drill=SimpleNamespace(scenario="key-compromise"),
        service=lambda spec: made.append(spec.name) or SimpleNamespace(spec=spec, instance=None),
    )
    found = new_clients(place, small, fleet.service("step-ca"))
    assert made == ["prometheus"]
    assert [note.split(",")[0] for note in found.not_looked_at] == [
        "not looked at: mosquitto",
        "not looked at: baked",
    ]


def test_every_promised_cell_has_a_drill_or_a_reason(fleet):
    cells = unanswered(fleet, [], skipped={("grafana", "snapshot", "rehearsal"): "no package"})
    seen = {(cell.service, cell.scenario, cell.origin): cell.reason for cell in cells}
    assert all(seen.values())
    assert set(seen) == set(declared_cells(fleet))
    assert seen["grafana", "snapshot", "rehearsal"] == "no package"


def test_a_rehearsal_never_answers_for_an_existing_backup(fleet):
    cells = unanswered(fleet, [], lacks={"files"})
    reasons = {(c.service, c.scenario): c.reason for c in cells if c.origin == "existing"}
    assert reasons["step-ca", "encrypted-tarball"] == NO_DIRECTORY
    assert reasons["atlas-terraform-state", "native"] == NO_DIRECTORY
    assert reasons["step-ca", "snapshot"] == "not selected in this run"
    assert reasons["fleet", "full-rebuild-with-data"] == NO_DIRECTORY


def test_what_cannot_be_drilled_says_why(fleet):
    without = fleet.service("loki").model_copy(update={"image": None})
    copied = without.model_copy(update={"provision": "copy"})
    for part, scenario, origin, lacks, expected in (
        ("step-ca", "tarball", "existing", (), ENCRYPTED_ONES),
        ("step-ca", "tarball", "rehearsal", (), None),
        ("loki", "tarball", "existing", (), None),
        ("grafana", "native", "existing", ("directories",), NO_FILE),
        ("grafana", "native", "existing", (), None),
        ("grafana", "native", "rehearsal", (), None),
        ("prometheus", "native", "existing", (), None),
        (without, "snapshot", "rehearsal", (), NO_IMAGE),
        (without, "snapshot", "existing", ("source",), NO_IMAGE),
        (without, "tarball", "existing", ("source",), None),  # by an export of its instance
        (copied, "tarball", "existing", ("source",), None),
        (copied, "snapshot", "existing", ("source",), NO_SOURCE),
        (copied, "snapshot", "rehearsal", (), None),
    ):
        service = fleet.service(part) if isinstance(part, str) else part
        assert why_not(service, scenario, origin, lacks) == expected, f"{part} {scenario} {origin}"
