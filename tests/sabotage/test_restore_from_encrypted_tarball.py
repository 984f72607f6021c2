"""The drill `restore from encrypted tarball`, seen red for each of its verifications."""

import hashlib
from dataclasses import replace

import pytest

import drills.test_restore_from_encrypted_tarball as runbook
import tests.sabotage.acts as acts
from fixtures.evidence.record import Verdict
from fixtures.secrets import Secret


def with_another_passphrase(own):
    return replace(own, passphrase=Secret("another-passphrase"))


def recorded_after_it_rotted(own):
    return replace(own, sha256=hashlib.sha256(acts.flip_a_bit(own.path, -30)).hexdigest())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (with_another_passphrase, "the passphrase is wrong"),
        (recorded_after_it_rotted, "it was changed or cut after it was encrypted"),
    ],
)
def test_what_gpg_refuses_is_named_and_leaves_no_volume(deployed, change, why):
    drill, service, backup = deployed("step-ca", "encrypted-tarball")
    other = replace(backup, tarball=change(backup.tarball))
    body = runbook.test_service_restored_from_encrypted_tarball
    record = acts.attempt(drill, body, service, other)
    acts.must_be(record, Verdict.NOT_RECOVERED, f"cannot be decrypted: {why}")
    assert "another-passphrase" not in record.model_dump_json()
    assert not service.volume.exists(), "what gpg gave out before its check is not kept"
