"""A remote Incus is drilled over HTTPS by the incus client's own configuration."""

from dataclasses import replace

import pytest

from fixtures.incus.inventory import inventory
from fixtures.lab import settings
from fixtures.services.note import find_notes
from tests.remote.server import drill, write_conf, write_pair

SOURCE = "production"
NEWEST = pytest.mark.parametrize("far", [settings.INCUS_VERSIONS[0]], indirect=True)
"""On a test that says nothing of the server's version."""


def test_existing_snapshots_of_a_remote_are_drilled(far, tmp_path):
    before = inventory(far.owner, SOURCE)
    # Tarballs: see the next test for Incus 6.0, and `test_least_privilege` for 7.0.
    done, run = drill(far, tmp_path, "-m", "existing and snapshot", "--provision=copy")
    verdicts = {(one.service, str(one.verdict)) for one in run.drills}
    assert verdicts == {("mosquitto", "recovered"), ("step-ca", "recovered")}, done.stdout
    assert done.returncode == 0, done.stdout
    assert run.incus.target == "far"
    assert run.source.is_unchanged
    assert inventory(far.owner, SOURCE) == before
    assert far.projects("drill-") == []


def test_a_volume_that_incus_spoils_on_import_is_found_out(far, tmp_path):
    if far.owner.has("direct_backup"):
        pytest.skip("only Incus 6.0 does so")
    which = ("-k", "mosquitto and tarball and existing", "--provision=copy")
    done, run = drill(far, tmp_path, *which)
    (made,) = run.drills
    assert done.returncode == 1
    assert str(made.verdict) == "wrong data"
    # What else is missing depends on when Mosquitto gives up.
    assert "owner and mode of the state directory" in made.reason
    assert any("initial.uid" in note for note in made.notes)


@NEWEST
def test_a_remote_source_is_observed(far, tmp_path):
    done = far.run(
        *("-m", "fixtures.plugin.observe", "--incus=far", f"--fleet={far.fleet}"),
        f"--to={tmp_path}",
    )
    assert done.returncode == 0, done.stdout
    (found,), faults = find_notes(tmp_path.iterdir())
    assert faults == []
    assert "retained messages" in found.note.services["mosquitto"].holds
    assert len(found.note.services) == 2


@NEWEST
def test_a_server_with_another_certificate_gets_nothing(far, tmp_path):
    other = write_pair(tmp_path / "other")
    misled = replace(far, conf=write_conf(tmp_path / "conf", {"far": {}}, other))
    done, _ = drill(misled, tmp_path / "r", "-k", "newest")
    assert done.returncode != 0
    assert "another certificate than the one that is pinned" in done.stdout, done.stdout
    assert "Traceback" not in done.stdout
