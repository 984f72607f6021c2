"""Encrypted tarballs: AES256 and nothing else, every damage named, no secret where others read."""

import hashlib
import io
import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.backups import gpg
from fixtures.backups.tarball import inspect, write_tarball
from fixtures.errors import BackupDamaged, CouldNotLook, IncusError, UsageError
from fixtures.plugin.options import LONGEST, read_passphrase
from fixtures.secrets import Secret
from tests.unit.test_tarball import export, packed

CASES = Path(__file__).parents[1] / "cases" / "passphrases"
VOLUME = "grafana01-data"
PASSPHRASE = Secret("correct horse battery staple")
PLAIN = packed(export(VOLUME), "zstd")
GPG = ["gpg", "--batch", "--pinentry-mode", "loopback", "--no-autostart", "--homedir"]


@pytest.fixture
def sealed(tmp_path):
    return write_tarball(iter([PLAIN[:1000], PLAIN[1000:]]), tmp_path, VOLUME, "zstd", PASSPHRASE)


def inspected(tarball):
    return inspect(tarball.path, volume=VOLUME, passphrase=PASSPHRASE)


def test_an_encrypted_tarball_is_inspected_and_read_through_its_encryption(sealed):
    seen = inspected(sealed)
    assert sealed.path.name.endswith(".tar.zst.gpg")
    assert (seen.compression, seen.entries, seen.content_bytes) == ("zstd", 3, len(export(VOLUME)))
    assert "AES256" in str(seen)
    assert "decrypts with its passphrase, another passphrase is refused" in str(seen)
    assert sealed.path.stat().st_mode & 0o777 == 0o600
    with sealed.content() as content:
        assert b"".join(iter(lambda: content.read(1000), b"")) == PLAIN


def test_another_passphrase_is_tried_on_the_beginning_of_a_file(sealed, tmp_path, monkeypatch):
    """gpg would read 100 GB to their end after it has refused them."""
    chunks, given, whole = [random.Random(1).randbytes(1 << 20)] * 5, [], gpg.decrypted
    large = write_tarball(iter(chunks), tmp_path, VOLUME, "none", PASSPHRASE)

    def decrypted(raw, *more):
        given.append(len(raw.getvalue()))
        return whole(raw, *more)

    with monkeypatch.context() as patch:
        patch.setattr(gpg, "decrypted", decrypted)
        gpg.must_refuse_another_passphrase(large.path, "x")
    assert given == [gpg.CHUNK]
    monkeypatch.setattr(gpg.secrets, "token_urlsafe", lambda _: PASSPHRASE.reveal())
    for tarball in (large, sealed):
        with pytest.raises(BackupDamaged, match="decrypted by a passphrase that is not its own"):
            gpg.must_refuse_another_passphrase(tarball.path, "x")
    with pytest.raises(BackupDamaged, match="decrypted by a passphrase that is not its own"):
        inspected(sealed)


def test_every_truncated_or_flipped_file_is_refused(sealed):
    whole, rng = sealed.path.read_bytes(), random.Random(11)
    lengths = [0, 1, 15, 40, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(3))]
    places = [3, 20, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(3))]
    flipped = [whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] for at in places]
    for damaged in [*(whole[:length] for length in lengths), *flipped]:
        sealed.path.write_bytes(damaged)
        with pytest.raises(BackupDamaged):
            inspected(sealed)


def test_the_end_of_a_changed_message_is_never_given_out(sealed):
    whole = sealed.path.read_bytes()
    changed = whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]
    sealed.path.write_bytes(changed)
    covered = replace(sealed, sha256=hashlib.sha256(changed).hexdigest())
    for tarball, why in ((sealed, "is damaged: its sha256 is"), (covered, "changed or cut")):
        with pytest.raises(BackupDamaged, match=why), tarball.content() as content:
            while content.read(100):
                continue
            pytest.fail("an importer would have taken the upload for complete")


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ([], "not encrypted with a passphrase"),
        (["--store"], "not encrypted with a passphrase"),
        (["--cipher-algo", "AES128", "--symmetric"], "cipher 7, not with AES256"),
        (["--cipher-algo", "CAST5", "--symmetric"], "cipher 3, not with AES256"),
    ],
)
def test_the_packets_are_checked_and_not_the_name(tmp_path, how, why):
    argv = [*GPG, str(tmp_path), "--passphrase", "x", "--s2k-count", "65536", *how]
    argv = argv if how else ["cat"]
    file = tmp_path / "backup.tar.zst.gpg"
    file.write_bytes(subprocess.run(argv, input=PLAIN, capture_output=True, check=True).stdout)
    with pytest.raises(BackupDamaged, match=why):
        inspect(file, volume=VOLUME, passphrase=PASSPHRASE)


def test_a_cut_export_or_a_missing_gpg_leaves_no_file(tmp_path, monkeypatch):
    def cut():
        yield PLAIN[:1000]
        raise IncusError("the connection was cut")

    with pytest.raises(IncusError, match="was cut"):
        write_tarball(cut(), tmp_path, VOLUME, "zstd", PASSPHRASE)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CouldNotLook, match="gpg is not installed"):
        write_tarball(iter([PLAIN]), tmp_path, VOLUME, "zstd", PASSPHRASE)
    assert list(tmp_path.iterdir()) == []


def test_the_passphrase_is_in_no_process_that_others_can_read(tmp_path):
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
    assert any(b"--passphrase-fd" in text for text in seen), "gpg was among what was read"
    assert not any(PASSPHRASE.reveal().encode() in text for text in seen)


def test_no_agent_and_no_directory_is_left(sealed, tmp_path, monkeypatch):
    homes = tmp_path / "homes"
    homes.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(homes))
    inspected(sealed)
    agents = subprocess.run(["pgrep", "-f", f"gpg-agent.*{homes}"], capture_output=True)
    assert (list(homes.iterdir()), agents.stdout) == ([], b"")


def passphrase(tmp_path, content):
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    file.chmod(0o600)
    return read_passphrase(file)


def opened(name, secret):
    raw = io.BytesIO((CASES / name).read_bytes())
    with gpg.decrypted(raw, secret, name) as stream:
        return stream.read()


def test_a_file_opens_with_its_own_passphrase_alone(tmp_path):
    """Of kinds that operators have; a carriage return is part of a passphrase."""
    keys = {key: passphrase(tmp_path, (CASES / key).read_bytes()) for key in ("pw", "pw-crlf")}
    for name, its, other in (("pw", *keys), ("pw-crlf", *reversed(keys)), ("both", *keys)):
        file = f"{name}.tar.zst.gpg"
        assert opened(file, keys[its])
        assert "AES256" in gpg.must_be_encrypted(CASES / file)
        gpg.must_refuse_another_passphrase(CASES / file, file)
        with pytest.raises(BackupDamaged, match="the passphrase is wrong"):
            opened(file, keys[other])
    with pytest.raises(CouldNotLook, match=r"to a public key alone \(A44ED0DF7AFE32AA\)"):
        gpg.must_be_encrypted(CASES / "recipient.tar.zst.gpg")


def test_gpg_opens_with_the_same_file_what_was_encrypted_with_it(tmp_path):
    """As the runbook's `gpg --passphrase-file` does."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    lines = [b"p\xe4ss\nsecond line\n", b" blanks at both ends \n", b" blanks at both ends "]
    for content in (*lines, b"tab\there", b"cr\r", b"cr\r\n", b"\xef\xbb\xbfbom"):
        secret = passphrase(tmp_path, content)
        sealed = write_tarball(iter([b"content" * 100]), tmp_path, "v", "none", secret)
        argv = [*GPG, str(home), "--passphrase-file", str(tmp_path / "passphrase"), "--decrypt"]
        made = subprocess.run([*argv, str(sealed.path)], capture_output=True, check=True)
        assert made.stdout == b"content" * 100


def test_what_is_no_passphrase_is_refused_in_words(tmp_path):
    for content in (b"", b"\nsecond\n", b"\0\0\0"):
        with pytest.raises(UsageError, match="its first line is empty"):
            passphrase(tmp_path, content)
    for length in (LONGEST + 1, 9 << 20):
        with pytest.raises(UsageError, match="is longer than 4096 bytes"):
            passphrase(tmp_path, b"x" * length)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, Path("/dev/null"), tmp_path / "a\0b", tmp_path / "none"):
        with pytest.raises(UsageError, match="nothing was done") as raised:
            read_passphrase(path)
        assert raised.value.hint == "name a file of yours, of mode 0600"
