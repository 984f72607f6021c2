"""Encrypted tarballs: AES256 and nothing else, every damage named, no secret where others look."""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.backups import gpg
from fixtures.backups.tarball import inspect, write_tarball
from fixtures.errors import BackupDamaged, CouldNotLook, IncusError
from fixtures.secrets import Secret
from tests.unit.test_tarball import export, packed

VOLUME = "grafana01-data"
PASSPHRASE = Secret("correct horse battery staple")
PLAIN = packed(export(VOLUME), "zstd")


@pytest.fixture
def sealed(tmp_path):
    return write_tarball(iter([PLAIN[:1000], PLAIN[1000:]]), tmp_path, VOLUME, "zstd", PASSPHRASE)


def test_an_encrypted_tarball_is_inspected_through_its_encryption(sealed):
    seen = inspect(sealed.path, volume=VOLUME, passphrase=PASSPHRASE)
    assert sealed.path.name.endswith(".tar.zst.gpg")
    assert (seen.compression, seen.entries, seen.content_bytes) == ("zstd", 3, len(export(VOLUME)))
    assert "AES256" in str(seen)
    assert sealed.path.stat().st_mode & 0o777 == 0o600


def test_its_content_is_what_was_exported(sealed):
    with sealed.content() as content:
        assert b"".join(content) == PLAIN


def test_it_is_what_the_runbooks_own_command_reads(sealed, tmp_path):
    argv = ["gpg", "--homedir", str(tmp_path), "--batch", "--pinentry-mode", "loopback"]
    argv += ["--no-autostart", "--passphrase-fd", "0", "--decrypt", str(sealed.path)]
    typed = PASSPHRASE.reveal().encode() + b"\n"
    done = subprocess.run(argv, input=typed, capture_output=True, check=True)
    assert done.stdout == PLAIN


def test_the_wrong_passphrase_is_told(sealed):
    with pytest.raises(BackupDamaged, match="the passphrase is wrong"):
        inspect(sealed.path, volume=VOLUME, passphrase=Secret("another-passphrase"))


def test_another_passphrase_is_tried_and_refused(sealed, monkeypatch):
    seen = inspect(sealed.path, volume=VOLUME, passphrase=PASSPHRASE)
    assert "decrypts with its passphrase, another passphrase is refused" in str(seen)
    monkeypatch.setattr(gpg.secrets, "token_urlsafe", lambda _: PASSPHRASE.reveal())
    with pytest.raises(BackupDamaged, match="decrypted by a passphrase that is not its own"):
        inspect(sealed.path, volume=VOLUME, passphrase=PASSPHRASE)


def test_every_truncated_or_flipped_file_is_refused(sealed):
    whole, rng = sealed.path.read_bytes(), random.Random(11)
    lengths = [0, 1, 15, 40, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(4))]
    places = [3, 20, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(5))]
    flipped = [whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] for at in places]
    for damaged in [*(whole[:length] for length in lengths), *flipped]:
        sealed.path.write_bytes(damaged)
        with pytest.raises(BackupDamaged):
            inspect(sealed.path, volume=VOLUME, passphrase=PASSPHRASE)


def test_the_end_of_a_changed_message_is_never_given_out(sealed):
    whole = sealed.path.read_bytes()
    changed = whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]
    sealed.path.write_bytes(changed)
    covered = replace(sealed, sha256=hashlib.sha256(changed).hexdigest())
    for tarball, why in ((sealed, "is damaged: its sha256 is"), (covered, "changed or cut")):
        read = io.BytesIO()
        with pytest.raises(BackupDamaged, match=why), tarball.content() as content:
            while data := content.read(100):
                read.write(data)
            pytest.fail("an importer would have taken the upload for complete")


def test_another_passphrase_is_judged_by_the_beginning_of_a_large_file(tmp_path, monkeypatch):
    """gpg would read 100 GB to their end after it has refused them."""
    chunks, given, whole = [random.Random(1).randbytes(1 << 20)] * 20, [], gpg.decrypted
    sealed = write_tarball(iter(chunks), tmp_path, VOLUME, "none", PASSPHRASE)

    def decrypted(raw, *more):
        given.append(len(raw.getvalue()))
        return whole(raw, *more)

    monkeypatch.setattr(gpg, "decrypted", decrypted)
    gpg.must_refuse_another_passphrase(sealed.path, "x")
    assert given == [gpg.CHUNK]
    monkeypatch.setattr(gpg.secrets, "token_urlsafe", lambda _: PASSPHRASE.reveal())
    with pytest.raises(BackupDamaged, match="decrypted by a passphrase that is not its own"):
        gpg.must_refuse_another_passphrase(sealed.path, "x")


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ([], "not encrypted with a passphrase"),
        (["--store"], "not encrypted with a passphrase"),
        (["--cipher-algo", "AES128", "--symmetric"], "cipher 7, not with AES256"),
        (["--cipher-algo", "CAST5", "--symmetric"], "cipher 3, not with AES256"),
    ],
)
def test_the_packets_are_looked_at_and_not_the_name(tmp_path, how, why):
    gpg_argv = ["gpg", "--homedir", str(tmp_path), "--batch", "--pinentry-mode", "loopback"]
    gpg_argv += ["--passphrase", "x", "--s2k-count", "65536", "--no-autostart", *how]
    argv = gpg_argv if how else ["cat"]
    made = subprocess.run(argv, input=PLAIN, capture_output=True, check=True).stdout
    file = tmp_path / "backup.tar.zst.gpg"
    file.write_bytes(made)
    with pytest.raises(BackupDamaged, match=why):
        inspect(file, volume=VOLUME, passphrase=PASSPHRASE)


def test_a_cut_export_leaves_no_file(tmp_path):
    def cut():
        yield PLAIN[:1000]
        raise IncusError("the connection was cut")

    with pytest.raises(IncusError, match="was cut"):
        write_tarball(cut(), tmp_path, VOLUME, "zstd", PASSPHRASE)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_gpg_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CouldNotLook, match="gpg is not installed"):
        write_tarball(iter([PLAIN]), tmp_path, VOLUME, "zstd", PASSPHRASE)


def test_the_passphrase_is_in_no_process_that_others_can_look_at(tmp_path):
    seen = []

    def slowly():
        for at in range(0, len(PLAIN), 4000):
            for pid in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        seen.append((pid / name).read_bytes())
                    except OSError:
                        seen.append(b"")
            yield PLAIN[at : at + 4000]

    write_tarball(slowly(), tmp_path, VOLUME, "zstd", PASSPHRASE)
    assert any(b"--passphrase-fd" in text for text in seen), "gpg was among what was looked at"
    assert not any(PASSPHRASE.reveal().encode() in text for text in seen)


def test_no_agent_and_no_directory_is_left(sealed, tmp_path, monkeypatch):
    homes = tmp_path / "homes"
    homes.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(homes))
    inspect(sealed.path, volume=VOLUME, passphrase=PASSPHRASE)
    write_tarball(iter([PLAIN]), tmp_path, VOLUME, "zstd", PASSPHRASE)
    agents = subprocess.run(["pgrep", "-f", f"gpg-agent.*{homes}"], capture_output=True)
    assert (list(homes.iterdir()), agents.stdout) == ([], b"")
