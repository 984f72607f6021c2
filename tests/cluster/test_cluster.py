"""Drills on a cluster: placed where the source's data is; a member that is gone is named."""

import time

import pytest

from fixtures.lab import host
from tests.cluster.cluster import up
from tests.remote.server import drill


@pytest.fixture(scope="module")
def cluster():
    made = up()
    try:
        yield made
    finally:
        made.down()
        left = list(host.cgroup2_root().glob("atlas-drills-m[123]-*"))
        assert [one for one in left if host.is_inhabited(one)] == []
        assert host.loop_devices(made.home) == []


def verdicts(record):
    return {one.id: str(one.verdict) for one in record.drills}


def test_drills_are_placed_where_the_source_has_its_data(cluster, tmp_path):
    done, record = drill(cluster, tmp_path, "-m", "snapshot or (tarball and existing)")
    assert done.returncode == 0, done.stdout
    found = verdicts(record)
    assert set(found.values()) == {"recovered"}
    assert {"mosquitto-snapshot-existing", "alertmanager-tarball-existing"} <= set(found)
    assert [one.split(" ")[0] for one in record.incus.members] == ["m1", "m2", "m3"]
    assert record.source.changed == []
    projects = [each["name"] for each in cluster.first.get_list("projects")]
    assert [name for name in projects if name.startswith("drill-")] == []


def test_a_member_that_is_gone_is_named_and_the_others_are_drilled(cluster, tmp_path):
    cluster.kill("m2")
    first, ends = cluster.first, time.monotonic() + 60
    while time.monotonic() < ends:
        members = first.get_list("cluster", "members")
        if {each["server_name"]: each["status"] for each in members}["m2"] == "Offline":
            break
        time.sleep(0.5)
    begun = time.monotonic()
    done, record = drill(cluster, tmp_path, "-m", "existing and not encrypted_tarball")
    assert time.monotonic() - begun < 120
    assert done.returncode == 1
    found = verdicts(record)
    assert found["alertmanager-snapshot-existing"] == "recovered", done.stdout
    assert found["alertmanager-tarball-existing"] == "recovered"
    assert found["mosquitto-snapshot-existing"] == "not verified"
    reasons = {one.id: one.reason for one in record.drills}
    assert "member m2 (Offline" in reasons["mosquitto-snapshot-existing"]
    assert any(one.startswith("m2 (Offline") for one in record.incus.members)


def test_without_quorum_nothing_is_made(cluster, tmp_path):
    """The last test: what is left cannot be mended."""
    cluster.kill("m3")
    begun = time.monotonic()
    done, _ = drill(cluster, tmp_path, "-m", "existing")
    assert time.monotonic() - begun < 90
    assert done.returncode != 0
    printed = done.stdout
    # Which one depends on the request that was the first to miss it.
    assert "the cluster has no quorum" in printed or "has it a quorum?" in printed, printed
    assert "No drill was made" in printed
    assert "Traceback" not in printed
