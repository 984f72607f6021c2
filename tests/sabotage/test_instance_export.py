"""A service that is made from an export of its instance, as on a spare machine; damaged ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile

import pytest
import yaml

from fixtures.backups.find import identify
from fixtures.evidence.record import Verdict
from fixtures.incus.instance import Instance
from fixtures.lab.lab import Lab
from fixtures.plugin.fixtures import Session
from fixtures.recovery.after import WITHOUT
from tests.sabotage.test_existing_backups import drilled

__all__ = ["drilled"]


@pytest.fixture
def export(place, tmp_path, fleet, monkeypatch):
    """The export of the source's Mosquitto, which is the only thing that it can be made from."""
    lab, name = Lab(), "instance-export.tar.gz"
    argv = ["incus", "export", "mosquitto01", f"/backup/{name}", "--project", fleet.source_project]
    subprocess.run(lab.command([*argv, "--compression=gzip"]), check=True, capture_output=True)
    (found,) = lab.state_dir.rglob(name)
    path = tmp_path / name
    path.write_bytes(found.read_bytes())
    found.unlink()
    only = {"mosquitto"}

    def instance_export(_, spec):
        return identify(path) if spec.name in only else None

    monkeypatch.setattr(Session, "instance_export", instance_export)
    return path


def with_devices(existing, seen):
    """Note what the instance has before the service starts."""
    start = existing.start

    def look():
        seen.update(existing.service.instance.read())
        start()

    existing.start = look


def test_a_service_is_made_from_the_export_of_its_instance(drilled, export):
    found, seen = identify(export), {}
    assert (found.kind, found.names, found.state) == ("container", "mosquitto01", "other")
    drill = drilled("mosquitto", "tarball", lambda existing: with_devices(existing, seen))
    assert drill.verdict is Verdict.RECOVERED, drill.reason
    assert f"instance mosquitto01 was made from its export {export}" in drill.notes
    assert {device["type"] for device in seen["expanded_devices"].values()} == {"disk"}
    assert [d.get("path") for d in seen["devices"].values() if d.get("source")] == [
        "/mosquitto/data"
    ]
    (control,) = [check for check in drill.checks if check.name == WITHOUT]
    assert control.outcome == "held", control.detail


def rewritten(path, change):
    """Write the export again, with each index as `change` leaves it."""
    packed = io.BytesIO()
    with (
        tarfile.open(path) as whole,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as copy,
    ):
        for entry in whole:
            content = whole.extractfile(entry) if entry.isreg() else None
            if entry.name in ("backup/index.yaml", "backup/container/backup.yaml"):
                index = yaml.safe_load(content.read())
                change(index.get("config", index)["container"])
                data = yaml.safe_dump(index).encode()
                entry.size, content = len(data), io.BytesIO(data)
            copy.addfile(entry, content)
    path.write_bytes(gzip.compress(packed.getvalue(), 1))


def privileged(instance):
    instance["config"]["security.privileged"] = "true"
    instance["expanded_config"]["security.privileged"] = "true"


def not_made(drilled, drill_project):
    drill = drilled("mosquitto", "tarball")
    assert not Instance(drill_project, "mosquitto01").exists()
    return drill


def test_an_export_that_is_cut_changed_or_privileged_makes_no_instance(
    drilled, export, drill_project
):
    whole = export.read_bytes()
    export.write_bytes(whole[: len(whole) // 2])
    drill = not_made(drilled, drill_project)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "instance export instance-export.tar.gz is damaged" in drill.reason

    other = hashlib.sha256(b"another").hexdigest()
    export.write_bytes(whole)
    export.with_name(f"{export.name}.sha256").write_text(f"{other}  {export.name}\n")
    drill = not_made(drilled, drill_project)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "instance-export.tar.gz is not what was written" in drill.reason

    export.with_name(f"{export.name}.sha256").unlink()
    rewritten(export, privileged)
    drill = not_made(drilled, drill_project)
    assert drill.verdict is Verdict.NOT_VERIFIED
    assert "because its config has security.privileged" in drill.reason
