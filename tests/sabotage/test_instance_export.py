"""A service that is made from an export of its instance, as on a spare machine; damaged ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile

import pytest
import yaml

import tests.sabotage.acts as acts
from fixtures.backups.find import identify
from fixtures.evidence.record import Verdict
from fixtures.incus.instance import Instance
from fixtures.lab.lab import Lab
from fixtures.plugin.fixtures import Session
from fixtures.recovery.after import WITHOUT
from tests.sabotage.test_existing_backups import drilled

__all__ = ["drilled"]


@pytest.fixture(scope="module")
def exported(drill_project, fleet):
    """An export of the source's Mosquitto."""
    lab, name = Lab(), "instance-export.tar.gz"
    argv = ["incus", "export", "mosquitto01", f"/backup/{name}", "--project", fleet.source_project]
    subprocess.run(lab.command([*argv, "--compression=gzip"]), check=True, capture_output=True)
    (found,) = lab.state_dir.rglob(name)
    yield found
    found.unlink()


@pytest.fixture
def export(exported, place, tmp_path, monkeypatch):
    """A copy of it: the only thing that the service can be made from."""
    path = shutil.copy(exported, tmp_path / exported.name)
    of_broker = {"mosquitto": path}
    monkeypatch.setattr(
        Session,
        "instance_export",
        lambda _, spec: identify(of_broker[spec.name]) if spec.name in of_broker else None,
    )
    return path


def test_a_service_is_made_from_the_export_of_its_instance(drilled, export):
    def look(existing):
        seen.update(existing.service.instance.read())

    found, seen = identify(export), {}
    assert (found.kind, found.names, found.state) == ("container", "mosquitto01", "other")
    drill = drilled("mosquitto", "tarball", acts.after("restore", look))
    acts.must_be(drill, Verdict.RECOVERED)
    assert f"instance mosquitto01 was made from its export {export}" in drill.notes
    assert {device["type"] for device in seen["expanded_devices"].values()} == {"disk"}
    assert [d.get("path") for d in seen["devices"].values() if d.get("source")] == [
        "/mosquitto/data"
    ]
    (control,) = [check for check in drill.checks if check.name == WITHOUT]
    assert control.outcome == "held", control.detail


def make_privileged(path):
    """Write the export again, with each index changed."""
    packed = io.BytesIO()
    with (
        tarfile.open(path) as whole,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as copy,
    ):
        for entry in whole:
            content = whole.extractfile(entry) if entry.isreg() else None
            if entry.name in ("backup/index.yaml", "backup/container/backup.yaml"):
                index = yaml.safe_load(content.read())
                container = index.get("config", index)["container"]
                for config in ("config", "expanded_config"):
                    container[config]["security.privileged"] = "true"
                data = yaml.safe_dump(index).encode()
                entry.size, content = len(data), io.BytesIO(data)
            copy.addfile(entry, content)
    path.write_bytes(gzip.compress(packed.getvalue(), 1))


def test_an_export_that_is_cut_changed_or_privileged_makes_no_instance(
    drilled, export, drill_project
):
    def must_not_be_made(verdict, why):
        acts.must_be(drilled("mosquitto", "tarball"), verdict, why)
        assert not Instance(drill_project, "mosquitto01").exists()

    whole, failed = export.read_bytes(), Verdict.NOT_RECOVERED
    export.write_bytes(whole[: len(whole) // 2])
    must_not_be_made(failed, "instance export instance-export.tar.gz is damaged")

    noted = export.with_name(f"{export.name}.sha256")
    noted.write_text(f"{hashlib.sha256(b'another').hexdigest()}  {export.name}\n")
    export.write_bytes(whole)
    must_not_be_made(failed, "instance-export.tar.gz is not what was written")

    noted.unlink()
    make_privileged(export)
    must_not_be_made(Verdict.NOT_VERIFIED, "because its config has security.privileged")
