"""Passphrase files and encrypted files of kinds that operators have: as gpg reads them."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest

from fixtures.backups import gpg
from fixtures.backups.tarball import write_tarball
from fixtures.errors import BackupDamaged, CouldNotLook, UsageError
from fixtures.plugin.options import LONGEST, read_passphrase
from fixtures.secrets import Secret

CASES = Path(__file__).parents[1] / "cases" / "passphrases"


def passphrase(tmp_path: Path, content: bytes) -> Secret:
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    file.chmod(0o600)
    return read_passphrase(file)


def opened(name: str, secret: Secret) -> bytes:
    raw, plain = io.BytesIO((CASES / name).read_bytes()), b""
    with gpg.decrypted(raw, secret, name) as stream:
        while data := stream.read(1 << 20):
            plain += data
    return plain


@pytest.mark.parametrize("name, key", [("pw", "pw"), ("pw-crlf", "pw-crlf"), ("both", "pw")])
def test_a_file_opens_with_its_passphrase(tmp_path: Path, name: str, key: str) -> None:
    file = f"{name}.tar.zst.gpg"
    assert opened(file, passphrase(tmp_path, (CASES / key).read_bytes()))
    assert "AES256" in gpg.must_be_encrypted(CASES / file)
    gpg.must_refuse_another_passphrase(CASES / file, file)


@pytest.mark.parametrize("name, key", [("pw", "pw-crlf"), ("pw-crlf", "pw"), ("both", "pw-crlf")])
def test_a_carriage_return_is_another_passphrase(tmp_path: Path, name: str, key: str) -> None:
    with pytest.raises(BackupDamaged, match="the passphrase is wrong"):
        opened(f"{name}.tar.zst.gpg", passphrase(tmp_path, (CASES / key).read_bytes()))


def test_what_is_for_a_public_key_alone_is_told_and_not_called_damaged() -> None:
    with pytest.raises(CouldNotLook, match=r"to a public key alone \(A44ED0DF7AFE32AA\)"):
        gpg.must_be_encrypted(CASES / "recipient.tar.zst.gpg")


@pytest.mark.parametrize(
    "line",
    [b"p\xe4ss", b" blanks at both ends ", b"tab\there", b"cr\r", b"\xef\xbb\xbfbom"],
)
@pytest.mark.parametrize("end", [b"", b"\n", b"\nsecond line\n"])
def test_gpg_opens_with_the_same_file_what_was_encrypted_with_it(
    tmp_path: Path, line: bytes, end: bytes
) -> None:
    """As the runbook's `gpg --passphrase-file` does."""
    secret = passphrase(tmp_path, line + end)
    sealed = write_tarball(iter([b"content" * 100]), tmp_path, "v", "none", secret)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    argv = ["gpg", "--homedir", str(home), "--batch", "--no-autostart", "--pinentry-mode"]
    argv += ["loopback", "--passphrase-file", str(tmp_path / "passphrase"), "--decrypt"]
    made = subprocess.run([*argv, str(sealed.path)], capture_output=True, check=True)
    assert made.stdout == b"content" * 100


@pytest.mark.parametrize(
    "content, told",
    [
        (b"", "its first line is empty"),
        (b"\nsecond\n", "its first line is empty"),
        (b"\0\0\0", "its first line is empty"),
        (b"x" * (LONGEST + 1), "is longer than 4096 bytes"),
        (b"x" * (9 << 20), "is longer than 4096 bytes"),
    ],
)
def test_what_is_no_passphrase_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        passphrase(tmp_path, content)


def test_a_directory_or_a_pipe_is_no_passphrase_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, Path("/dev/null"), tmp_path / "a\0b"):
        with pytest.raises(UsageError, match="nothing was done"):
            read_passphrase(path)
