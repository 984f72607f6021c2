"""A remote Incus is drilled over HTTPS by the incus client's own configuration."""

import json

import pytest

from fixtures.evidence.record import RunRecord
from fixtures.incus.inventory import inventory
from fixtures.lab import settings
from fixtures.services.note import find_notes
from tests.remote.server import write_conf, write_pair

SOURCE = "production"
NEWEST = pytest.mark.parametrize("far", [settings.INCUS_VERSIONS[0]], indirect=True)
"""On a test that says nothing of the server's version."""


def record_in(reports):
    (file,) = reports.glob("*/evidence.json")
    return RunRecord.model_validate(json.loads(file.read_text()))


def drilled(far, reports, *options, target="far"):
    """A run of drills as an operator types it; returns its process and its record."""
    done = far.run(
        *("-m", "pytest", "drills", "-q", "-p", "no:cacheprovider", f"--incus={target}"),
        *("-p", "tests.faults.brief"),
        *(f"--fleet={far.fleet}", "--provision=copy", f"--backups={far.backups}"),
        *(f"--passphrase-file={far.passphrase}", f"--reports={reports}", *options),
    )
    return done, record_in(reports)


def test_existing_snapshots_of_a_remote_are_drilled(far, tmp_path):
    before = inventory(far.owner, SOURCE)
    # Tarballs: see the next test for Incus 6.0, and `test_least_privilege` for 7.0.
    done, run = drilled(far, tmp_path, "-m", "existing and snapshot")
    printed = "\n".join(far.said[-60:])
    assert {(one.service, str(one.verdict)) for one in run.drills} == {
        ("mosquitto", "recovered"),
        ("step-ca", "recovered"),
    }, printed
    assert done.returncode == 0, printed
    assert run.incus is not None
    assert run.incus.target == "far"
    assert run.source is not None
    assert run.source.is_unchanged
    assert inventory(far.owner, SOURCE) == before
    assert far.projects("drill-") == []


def test_a_volume_that_incus_spoils_on_import_is_found_out(far, tmp_path):
    if far.owner.has("direct_backup"):
        pytest.skip("only Incus 6.0 does so")
    done, run = drilled(far, tmp_path, "-k", "mosquitto and tarball and existing")
    (drill,) = run.drills
    assert done.returncode == 1
    assert str(drill.verdict) == "wrong data"
    # What else is missing depends on when Mosquitto gives up.
    assert "owner and mode of the state directory" in drill.reason
    assert any("initial.uid" in note for note in drill.notes)


@NEWEST
def test_a_remote_source_is_observed(far, tmp_path):
    done = far.run(
        *("-m", "fixtures.plugin.observe", "--incus=far", f"--fleet={far.fleet}"),
        f"--to={tmp_path}",
    )
    assert done.returncode == 0, far.said
    (found,), faults = find_notes(tmp_path.iterdir())
    assert faults == []
    assert "retained messages" in found.note.services["mosquitto"].holds
    assert len(found.note.services) == 2


@NEWEST
def test_a_drill_that_deploys_goes_over_https_too(far, tmp_path):
    done, run = drilled(far, tmp_path, "-k", "snapshot and mosquitto and rehearsal")
    printed = "\n".join(far.said[-40:])
    assert [str(one.verdict) for one in run.drills] == ["recovered"], printed
    assert done.returncode == 0, printed


@NEWEST
def test_a_server_with_another_certificate_gets_nothing(far, tmp_path):
    other = write_pair(tmp_path / "other")
    conf = write_conf(tmp_path / "conf", {"far": {}}, other)
    done = far.run(
        *("-m", "pytest", "drills", "-q", "-p", "no:cacheprovider", "--incus=far", "-k", "newest"),
        *(f"--fleet={far.fleet}", f"--reports={tmp_path}"),
        INCUS_CONF=str(conf),
    )
    printed = "\n".join(far.said)
    assert done.returncode != 0
    assert "another certificate than the one that is pinned" in printed, printed
    assert "Traceback" not in printed
