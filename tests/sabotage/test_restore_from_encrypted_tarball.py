"""The drill `restore from encrypted tarball`, seen red for each of its verifications."""

import hashlib
import subprocess
from dataclasses import replace

import pytest

import drills.test_restore_from_encrypted_tarball as runbook
import tests.sabotage.acts as acts
from fixtures.backups.tarball import inspect
from fixtures.errors import BackupDamaged
from fixtures.evidence.record import Verdict
from fixtures.secrets import Secret

KIND = "encrypted-tarball"
VOLUME = "step-ca01-data"
PLACES = (0, 1, 20, 300, -2000, -30, -1)
"""Bytes of the file: its header, its first data, its middle, its integrity check."""

body = runbook.test_service_restored_from_encrypted_tarball


def with_another_passphrase(own):
    return replace(own, passphrase=Secret("another-passphrase"))


def recorded_after_it_rotted(own):
    data = bytearray(own.path.read_bytes())
    data[-30] ^= 1
    own.path.write_bytes(data)
    return replace(own, sha256=hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (with_another_passphrase, "the passphrase is wrong"),
        (recorded_after_it_rotted, "it was changed or cut after it was encrypted"),
    ],
)
def test_what_gpg_refuses_is_named_and_leaves_no_volume(deployed, change, why):
    drill, service, backup = deployed("step-ca", KIND)
    other = replace(backup, tarball=change(backup.tarball))
    record = acts.attempt(drill, body, service, other)
    assert record.verdict is Verdict.NOT_RECOVERED
    assert f"cannot be decrypted: {why}" in record.reason
    assert "another-passphrase" not in record.model_dump_json()
    assert not service.volume.exists(), "what gpg gave out before its check is not kept"


def test_one_that_rots_never_reaches_incus(spoiled):
    drill = spoiled(body, "step-ca", KIND, acts.flip_a_byte)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "is damaged: its sha256 is" in drill.reason


@pytest.mark.usefixtures("never_healthy")
def test_an_empty_volume_is_not_recovered(spoiled):
    drill = spoiled(body, "step-ca", KIND, acts.instead("import_tarball", acts.empty_volume))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "service step-ca healthy: " in drill.reason


def test_every_damaged_or_foreign_file_is_refused_on_arrival(deployed, tmp_path):
    _, _, backup = deployed("step-ca", KIND)
    tarball, passphrase = backup.tarball, backup.tarball.passphrase
    whole = tarball.path.read_bytes()
    assert inspect(tarball.path, volume=VOLUME, passphrase=passphrase).envelope
    file = tmp_path / "damaged.tar.zst.gpg"
    for place in PLACES:
        at = place % len(whole)
        flipped = bytearray(whole)
        flipped[at] ^= 0x40
        for what, content in (("cut", whole[:at]), ("flipped", bytes(flipped))):
            file.write_bytes(content)
            with pytest.raises(BackupDamaged) as raised:
                inspect(file, volume=VOLUME, passphrase=passphrase)
            assert "damaged.tar.zst.gpg" in raised.value.message, f"{what} at byte {at}"
    file.write_bytes(whole)
    with pytest.raises(BackupDamaged, match="the passphrase is wrong"):
        inspect(file, volume=VOLUME, passphrase=Secret("another-passphrase"))
    with pytest.raises(BackupDamaged, match=f"of volume {VOLUME}, not of mosquitto01-data"):
        inspect(file, volume="mosquitto01-data", passphrase=passphrase)


def test_a_name_encrypts_nothing_and_other_ciphers_are_not_ours(deployed, tmp_path):
    _, _, backup = deployed("step-ca", KIND)
    with backup.tarball.content() as stream:
        plain = stream.read(1 << 20)
    bare = tmp_path / "bare.tar.zst.gpg"
    bare.write_bytes(plain)
    with pytest.raises(BackupDamaged, match=r"bare.tar.zst.gpg is not encrypted with a passphrase"):
        inspect(bare, volume=VOLUME, passphrase=backup.tarball.passphrase)
    for cipher, number in (("CAST5", 3), ("AES", 7)):
        weak = tmp_path / f"{cipher}.tar.zst.gpg"
        argv = ["gpg", "--homedir", str(tmp_path), "--batch", "--pinentry-mode", "loopback"]
        argv += ["--passphrase-fd", "0", "--symmetric", "--cipher-algo", cipher, "-o", str(weak)]
        subprocess.run([*argv, str(bare)], input=b"a-weak-cipher", check=True, capture_output=True)
        with pytest.raises(BackupDamaged, match=f"with cipher {number}, not with AES256"):
            inspect(weak, volume=VOLUME, passphrase=Secret("a-weak-cipher"))
