"""States of OpenTofu as they are found in buckets."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fixtures.errors import CouldNotLook
from fixtures.services.terraform_state import StateBucket, prove_existing

ENCRYPTED = (Path(__file__).parents[1] / "cases" / "state" / "encrypted.tfstate").read_bytes()


def bucket(state: bytes) -> StateBucket:
    """A bucket with one object, which is all that is asked for here."""
    objects = SimpleNamespace(get=lambda _key: state)
    return cast(StateBucket, SimpleNamespace(s3=objects, key="a.tfstate", reader=None))


def test_an_encrypted_state_is_told_as_that_and_is_no_wrong_data() -> None:
    (proof,) = prove_existing(bucket(ENCRYPTED))
    assert proof.held
    assert "encrypted by OpenTofu (serial 7, lineage 3f1c9f0e-" in proof.detail
    assert "compared by its checksum, not looked at inside" in proof.detail


@pytest.mark.parametrize(
    "changed",
    [
        {"encrypted_data": ""},
        {"encryption_version": None},
    ],
)
def test_an_encrypted_state_without_its_content_is_none(changed: dict[str, Any]) -> None:
    (proof,) = prove_existing(bucket(json.dumps({**json.loads(ENCRYPTED), **changed}).encode()))
    assert not proof.held


@pytest.mark.parametrize("state", [b"", b"null", b"[]", b"[" * 100_000, b"{}", b"\xff", b'"x"'])
def test_what_is_no_state_is_told(state: bytes) -> None:
    (proof,) = prove_existing(bucket(state))
    assert not proof.held and "cannot be read as one" in proof.detail
    with pytest.raises(CouldNotLook, match="is no state of OpenTofu"):
        StateBucket.must_be_canaries(bucket(state))


def test_nothing_is_applied_over_an_encrypted_state() -> None:
    with pytest.raises(CouldNotLook, match="is encrypted by OpenTofu"):
        StateBucket.must_be_canaries(bucket(ENCRYPTED))
