"""Buckets: what a drill does with its own passes; the keys of others are never read."""

from __future__ import annotations

import io

import pytest
import requests

from fixtures.errors import GuardRefused
from tests.guard.wire import BASE, CLOSED, OURS, PROJECTS, is_refused, prepared

BUCKETS = "/1.0/storage-pools/terraform-state/buckets"
TELL_KEYS = [
    f"{BUCKETS}/b/keys?",
    f"{BUCKETS}/b/keys?recursion=1&",
    f"{BUCKETS}/b/keys/admin?",
    f"{BUCKETS}/b?recursion=1&",
    f"{BUCKETS}/b?recursion=0&recursion=1&",
    f"{BUCKETS}/b?recursio%6e=2&",
    f"{BUCKETS}?recursion=2&",
    f"{BUCKETS}?recursion=1&recursion=2&",
    f"{BUCKETS}?recursion=%32&",
    f"{BUCKETS}/?recursion=2&",
    "//1.0/storage-pools/terraform-state//buckets/b/%6beys?",
]


def read(path):
    request = prepared("GET", "/1.0")
    request.url = BASE + path
    return request


@pytest.mark.parametrize("path", TELL_KEYS)
def test_keys_of_a_foreign_bucket_are_not_read(guard, wire, path):
    for project in ("project=atlas", "project=default", "all-projects=true", ""):
        assert is_refused(guard, read(path + project)), project
    assert wire.sent == []


@pytest.mark.parametrize("path", TELL_KEYS[:4])
def test_keys_of_our_own_bucket_are_read(guard, wire, monkeypatch, path):
    guard.send(read(f"{path}project={OURS}"))
    assert len(wire.sent) == 1
    monkeypatch.setitem(PROJECTS, OURS, {**CLOSED, "features.storage.buckets": "false"})
    with pytest.raises(GuardRefused, match="open buckets of project default"):
        guard.send(read(f"{path}project={OURS}"))


@pytest.mark.parametrize("path", [BUCKETS, f"{BUCKETS}?recursion=1", f"{BUCKETS}/b"])
def test_what_a_source_has_is_seen(guard, path):
    guard.send(read(path + ("&" if "?" in path else "?") + "project=atlas"))


@pytest.mark.parametrize("project", [OURS, "atlas"])
def test_an_import_goes_to_our_own_project_alone(guard, wire, project):
    request = requests.Request(
        "POST",
        f"{BASE}{BUCKETS}?project={project}",
        data=io.BytesIO(b"a tarball"),
        headers={"Content-Type": "application/octet-stream", "X-Incus-name": "drill-x-state"},
    ).prepare()
    assert is_refused(guard, request) is (project != OURS)
    assert len(wire.sent) == (project == OURS)


@pytest.mark.parametrize("project", [OURS, "atlas"])
def test_keys_and_exports_are_made_in_our_own_project_alone(guard, project):
    for path, body in (("keys", {"name": "reader", "role": "read-only"}), ("backups", {})):
        request = prepared("POST", f"{BUCKETS}/b/{path}?project={project}", body)
        assert is_refused(guard, request) is (project != OURS)
    revoked = prepared("DELETE", f"{BUCKETS}/b/keys/reader?project={project}")
    assert is_refused(guard, revoked) is (project != OURS)
