"""What an operator sees of the plugin without any Incus: ids, collection, exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SERVICES = (
    "grafana",
    "prometheus",
    "loki",
    "step-ca",
    "alertmanager",
    "mosquitto",
    "atlantis",
)
STAND_INS = ("grafana", "atlantis")


def collected(*options):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "drills", "--collect-only", "-q", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_the_ids_say_what_is_drilled():
    found = collected()
    for kind in ("snapshot", "tarball"):
        test = f"drills/test_restore_from_{kind}.py::test_service_restored_from_{kind}"
        wanted = [f"{test}[{name}-rehearsal]" for name in SERVICES]
        assert [id for id in found if id.startswith(f"{test}[")] == wanted
    assert len(found) == len(set(found))


def test_a_newcomer_finds_a_drill_by_its_words():
    assert collected("-k", "step-ca and encrypted_tarball and not existing") == [
        "drills/test_restore_from_encrypted_tarball.py::"
        "test_service_restored_from_encrypted_tarball[step-ca-rehearsal]"
    ]


def test_a_drill_of_a_real_backup_is_found_by_its_words():
    assert collected("-k", "step-ca and encrypted_tarball and existing") == [
        "drills/test_existing_backups.py::test_newest_encrypted_tarball_of_the_source"
        "[step-ca-existing]"
    ]


def test_without_a_directory_only_snapshots_are_looked_for():
    found = collected("-m", "existing", "--incus=unix")
    assert len(found) == len(SERVICES)
    assert all("test_newest_snapshot_of_the_source[" in id for id in found)


def test_stand_ins_can_be_left_out():
    assert [
        id for id in collected("-m", "snapshot and stand_in and not existing") if "[" in id
    ] == [
        f"drills/test_restore_from_snapshot.py::test_service_restored_from_snapshot[{name}-rehearsal]"
        for name in STAND_INS
    ]
    left = [id for id in collected("-m", "not stand_in") if "test_backup_regime" not in id]
    assert left
    assert not [id for id in left if any(name in id for name in (*STAND_INS, "fleet"))]


def test_each_way_to_provision_has_a_drill():
    ways = [id.rpartition("-")[2] for id in collected("-k", "rebuilt_as_a_copy or rebuilt_by")]
    assert ways == ["copy]", "command]"]


def test_a_fleet_without_a_command_has_no_drill_of_it(tmp_path):
    fleet = yaml.safe_load((ROOT / "fleets" / "atlas.yaml").read_text())
    del fleet["apply"]
    without = tmp_path / "fleet.yaml"
    without.write_text(yaml.safe_dump(fleet))
    assert collected("-k", "rebuilt_by", f"--fleet={without}") == []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "drills", f"--fleet={without}", "--provision=command"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "fleet atlas has no `apply` command; nothing was contacted" in done.stderr


def test_the_fleets_command_is_run_in_the_lab_only():
    assert collected("-k", "rebuilt_by", "--incus=unix") == []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "drills", "--incus=unix", "--provision=command"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "is made by the fleet's `apply` command, which runs in the lab only" in done.stderr
    assert "nothing was contacted" in done.stderr


def test_markers_select_scenarios():
    assert len(collected("-m", "snapshot and not existing")) == len(SERVICES)
    assert len(collected("-m", "snapshot and existing")) == len(SERVICES)


def test_collecting_makes_no_report(tmp_path):
    assert collected(f"--reports={tmp_path}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("weight", ["", "1 GiB", "0B", "heavy", "-1MiB"])
def test_a_weight_that_is_no_size_is_told_and_nothing_is_contacted(weight):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "drills", f"--weight={weight}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"--weight: {weight!r} is not" in done.stderr
    assert "nothing was contacted" in done.stderr
    assert "Traceback" not in done.stderr
