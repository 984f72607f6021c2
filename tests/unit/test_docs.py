"""What docs/ type is what the programs take, and the map of the runbook names every drill."""

import configparser
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fixtures.evidence import verify
from fixtures.plugin import certificate, lab, observe
from fixtures.plugin.review import write_review
from tests.unit.sealed import new_key

ROOT = Path(__file__).parents[2]
CI = ROOT / "docs" / "ci"
SCRIPTS = ("script", "after_script")


def typed():
    """(file, words) of every call of `./run` in the definitions."""
    github = yaml.safe_load((CI / "github-actions.yml").read_text())
    gitlab = yaml.safe_load((CI / "gitlab-ci.yml").read_text())
    jobs = [job for job in gitlab.values() if isinstance(job, dict)]
    steps = [step for job in github["jobs"].values() for step in job["steps"]]
    lines = [line for job in jobs for key in SCRIPTS for line in job.get(key, [])]
    found = [("github-actions.yml", step["run"]) for step in steps if "run" in step]
    found += [("gitlab-ci.yml", line) for line in lines]
    for unit in sorted(CI.glob("*.service")):
        parser = configparser.RawConfigParser(strict=False)
        parser.optionxform = str
        parser.read(unit)
        found += [(unit.name, x) for key, x in parser["Service"].items() if key.startswith("Exec")]
    return [(name, shlex.split(line)) for name, line in found]


TYPED = typed()


def test_every_definition_types_something():
    assert {(name, words[0].rpartition("/")[2]) for name, words in TYPED} == {
        ("github-actions.yml", "run"),
        ("gitlab-ci.yml", "run"),
        ("atlas-drills.service", "run"),
        ("atlas-drills.service", "sh"),
        ("atlas-backup.service", "atlas-backup.sh"),
        ("atlas-backup-start.service", "atlas-backup.sh"),
    }


BACKUP = [words for name, words in TYPED if name.startswith("atlas-backup")]
OURS = [(name, words) for name, words in TYPED if words[0].endswith("run")]
DRILLS = [(name, words) for name, words in OURS if words[1] == "drills"]
PACKS = [(name, words) for name, words in OURS if words[1] == "pack"]


def test_the_backups_start_what_a_killed_run_left():
    """After it was killed, and at the next boot."""
    assert [words[1:] for words in BACKUP] == [["--start-stopped"], [], ["--start-stopped"]]


@pytest.mark.parametrize("words", [*BACKUP, ["", "--start-stoped"], ["", "--dry-run"]])
def test_what_is_typed_is_taken_by_the_script(words):
    """It reads all its arguments before it looks for its configuration, which is not there."""
    done = subprocess.run(
        ["bash", ROOT / "docs" / "atlas-backup.sh", *words[1:], "--config", "/nonexistent"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    told = "/nonexistent cannot be read" if words in BACKUP else f"unknown argument {words[1]}"
    assert f"{told}; nothing was done" in done.stderr


def test_what_is_typed_is_taken_by_the_drills(tmp_path):
    """Each file and directory that is named exists here under another path."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("words\n")
    passphrase.chmod(0o600)
    there = {"--backups": tmp_path, "--passphrase-file": passphrase, "--reports": tmp_path / "r"}
    there["--seal-key"] = new_key(tmp_path / "seal.key")

    def here(word):
        flag, _, value = word.partition("=")
        return f"{flag}={there[flag]}" if value and flag in there else word

    calls = {tuple(here(word) for word in words[2:]) for _, words in DRILLS}
    assert len(calls) >= 2
    for options in calls:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "drills", "--collect-only", "-q", *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "::" in done.stdout
        assert "existing" in done.stdout or "rehearsal" in done.stdout


def test_what_is_typed_is_taken_by_the_packer():
    assert len(PACKS) == len(OURS) - len(DRILLS) == 3
    for _, words in PACKS:
        assert words[2:4] == ["$(date -u -d yesterday +%F)", "$(date -u +%F)"]
        given = verify.pack_options().parse_args(["2026-11-28", "2026-11-29", *words[4:]])
        reports = {word for _, drill in DRILLS for word in drill if word.startswith("--reports=")}
        assert f"--reports={given.reports}" in reports


def test_evidence_is_kept_for_years():
    """Three years at least, of which 90 days are not even two quarters."""
    gitlab = yaml.safe_load((CI / "gitlab-ci.yml").read_text())
    number, unit = gitlab[".drills"]["artifacts"]["expire_in"].split()
    assert unit == "years" and int(number) >= 3
    github = (CI / "github-actions.yml").read_text()
    assert "retention-days: 400" in github and '--to="/srv/evidence/' in github


def test_the_metrics_of_the_newest_run_are_copied(tmp_path):
    (line,) = [words[2] for name, words in TYPED if words[0] == "-/bin/sh"]
    reports, exporter = tmp_path / "reports", tmp_path / "exporter"
    for place, here in (
        ("/var/lib/atlas-drills/reports", reports),
        ("/var/lib/prometheus/node-exporter", exporter),
    ):
        assert place in line
        here.mkdir()
        line = line.replace(place, str(here))
    for run in ("20261128-041700-aaaaaa", "20261129-041700-bbbbbb", "20261130-041700-killed"):
        (reports / run).mkdir()
        if not run.endswith("killed"):
            (reports / run / "metrics.prom").write_text(run)
            (reports / run / "metrics.prom").chmod(0o640)
    # systemd's own quoting.
    subprocess.run(["sh", "-c", line.replace("$$", "$")], check=True, timeout=60)
    (file,) = exporter.iterdir()
    assert file.name == "atlas-drills.prom"
    assert file.read_text() == "20261129-041700-bbbbbb"
    assert file.stat().st_mode & 0o777 == 0o644


def test_every_service_has_a_timer_or_comes_with_the_boot():
    services = {unit.stem for unit in CI.glob("*.service")}
    booted = {unit.stem for unit in CI.glob("*.service") if "[Install]" in unit.read_text()}
    assert services - booted == {unit.stem for unit in CI.glob("*.timer")}
    assert booted == {"atlas-backup-start"}


def test_every_drill_is_on_the_map():
    named = set(re.findall(r"`(test_\w+\.py)`", (ROOT / "docs" / "runbook-map.md").read_text()))
    assert named == {p.name for p in (ROOT / "drills").glob("test_*.py")}


@pytest.mark.parametrize(
    "main, words, status",
    [
        (observe.main, ["--to="], 2),
        (certificate.main, ["--source", ""], 2),
        (write_review, ["RUN", "--from="], 2),
        (lab.main, ["up", "--fleet="], 2),
        (lab.main, ["dwon"], 2),
        (lab.main, ["--help"], 0),
    ],
)
def test_a_wrong_word_ends_a_command_before_it_begins(main, words, status):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == status


@pytest.mark.parametrize("state, said", [("rel", "not absolute"), (__file__, "down")])
def test_a_wrong_environment_is_no_traceback(monkeypatch, capsys, state, said):
    monkeypatch.setenv("ATLAS_DRILLS_STATE", state)
    lab.main([])
    assert said in capsys.readouterr().out


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_run_keeps_bytecode_and_takes_no_module_from_where_it_is_typed(tmp_path):
    cache, here = tmp_path / "cache", tmp_path / "here"
    program(tmp_path / "bin" / "sha256sum", "cat >/dev/null; echo key")
    program(cache / "tox-envs-key/verify/bin/python", f'exec {sys.executable} "$@"')
    program(cache / "tox-key/.complete", "")
    program(cache / "tox-envs-key/.complete-verify", "")
    program(here / "argparse.py", "raise SystemExit('it is taken')")
    (here / "atlas").symlink_to(ROOT / "run")
    done = subprocess.run(
        ["./atlas", "verify", "--help"],
        cwd=here,
        env={
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "ATLAS_DRILLS_CACHE": str(cache),
            **dict.fromkeys(("PYTHONDONTWRITEBYTECODE", "PYTHONOPTIMIZE"), "1"),
            "CDPATH": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("./run: verify\nusage: ./run verify"), done.stdout + done.stderr
    kept = [path.name for path in (cache / "tox-envs-key" / "bytecode").rglob("verify*.pyc")]
    assert kept and "opt" not in kept[0]
