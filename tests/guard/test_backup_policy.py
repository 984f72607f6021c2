"""The backup procedure's own guard: it writes to a source, and of that almost nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.fleet.load import load_fleet
from fixtures.incus.guard import GuardAdapter
from fixtures.procedure.guard import BackupPolicy
from tests.guard.test_every_route import FOREIGN, TEMPLATES, VERBS, paths
from tests.guard.wire import BASE, is_refused, prepared

FLEET = load_fleet(Path(__file__).parents[2] / "fleets" / "atlas.yaml")
IN = "?project=atlas"
INSTANCE = "/1.0/instances/mosquitto01"
VOLUME = "/1.0/storage-pools/local/volumes/custom/mosquitto01-data"
BUCKET = "/1.0/storage-pools/terraform-state/buckets/atlas-terraform-state"
SNAPSHOT = "backup-20261123-231739-618324"
EXPORT = {"volume_only": True, "optimized_storage": False, "compression_algorithm": "zstd"}

ALLOWED = [
    ("PUT", f"{INSTANCE}/state{IN}", {"action": "stop", "force": False, "timeout": 60}),
    ("PUT", f"{INSTANCE}/state{IN}", {"action": "start", "force": False, "timeout": 60}),
    ("POST", f"{INSTANCE}/exec{IN}", {"command": ["true"]}),
    ("DELETE", f"{INSTANCE}/logs/exec-output/exec_1.stdout{IN}", None),
    ("POST", f"{VOLUME}/snapshots{IN}", {"name": SNAPSHOT}),
    ("DELETE", f"{VOLUME}/snapshots/{SNAPSHOT}{IN}", None),
    ("POST", f"{VOLUME}/backups{IN}", EXPORT),
    ("POST", f"{VOLUME}/backups{IN}", {**EXPORT, "name": "export-0123abcd"}),
    ("DELETE", f"{VOLUME}/backups/export-0123abcd{IN}", None),
    ("POST", f"{BUCKET}/backups{IN}", {"compression_algorithm": "gzip"}),
]
REFUSED = [
    ("DELETE", f"{VOLUME}{IN}", None),
    ("PUT", f"{VOLUME}{IN}", {"restore": SNAPSHOT}),
    ("PATCH", f"{VOLUME}{IN}", {"config": {}}),
    ("DELETE", f"{INSTANCE}{IN}", None),
    ("PUT", f"{INSTANCE}/state{IN}", {"action": "stop", "force": True}),
    ("PUT", f"{INSTANCE}/state{IN}", {"action": "freeze"}),
    ("PUT", f"/1.0/instances/other{'/state'}{IN}", {"action": "stop"}),
    ("POST", "/1.0/instances/other/exec?project=atlas", {"command": ["true"]}),
    ("POST", f"{VOLUME}/snapshots{IN}", {"name": "daily-1"}),
    ("POST", f"{VOLUME}/snapshots{IN}", {"name": SNAPSHOT, "expires_at": "2026-01-01T00:00:00Z"}),
    ("DELETE", f"{VOLUME}/snapshots/daily-20260101{IN}", None),
    ("DELETE", f"{VOLUME}/backups/monthly{IN}", None),
    ("POST", f"{VOLUME}/backups{IN}", {**EXPORT, "target": {"protocol": "s3"}}),
    ("POST", f"{BUCKET}/keys{IN}", {"name": "mine", "role": "admin"}),
    ("GET", f"{BUCKET}/keys{IN}", None),
    ("DELETE", f"{BUCKET}{IN}", None),
    ("POST", f"{VOLUME}/snapshots{IN}&target=member2", {"name": SNAPSHOT}),
    ("POST", "/1.0/storage-pools/local/volumes/custom/other/snapshots?project=atlas", None),
]


@pytest.fixture
def backup_guard(wire):
    return GuardAdapter(wire, BASE, BackupPolicy(FLEET, "atlas"))


@pytest.mark.parametrize(("verb", "path", "body"), ALLOWED)
def test_what_a_backup_needs_passes(backup_guard, wire, verb, path, body):
    assert not is_refused(backup_guard, prepared(verb, path, body))
    assert [sent[0] for sent in wire.sent] == [verb]


@pytest.mark.parametrize(("verb", "path", "body"), REFUSED)
def test_what_it_does_not_need_is_refused(backup_guard, wire, verb, path, body):
    assert is_refused(backup_guard, prepared(verb, path, body))
    assert wire.sent == []


@pytest.mark.parametrize("query", [query for query in FOREIGN if query != "?project=atlas"])
def test_no_change_reaches_another_project(backup_guard, wire, query):
    for verb, path, body in ALLOWED:
        assert is_refused(backup_guard, prepared(verb, path.partition("?")[0] + query, body))
    assert wire.sent == []


def test_of_all_routes_none_passes_for_objects_that_the_fleet_does_not_name(backup_guard, wire):
    for template in TEMPLATES:
        for path in paths(template):
            for verb in VERBS:
                assert is_refused(backup_guard, prepared(verb, path + IN)), f"{verb} {path}"
    assert wire.sent == []
