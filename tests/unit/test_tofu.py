"""Calls of OpenTofu: what reaches the child, and how its end is told; a script plays it."""

from __future__ import annotations

import os

import pytest

import fixtures.services.terraform_state as tofu
from fixtures.errors import CouldNotLook
from fixtures.incus.buckets import BucketKey
from fixtures.secrets import Secret

KEY = BucketKey("admin", "admin", "ACCESS", Secret("very-secret-key"))


@pytest.fixture
def play(tmp_path):
    def make(script):
        program = tmp_path / "tofu"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return tofu.Tofu(program, tmp_path)

    return make


def test_the_key_is_read_from_a_descriptor_and_is_nowhere_else(play):
    child = play('cat "$AWS_SHARED_CREDENTIALS_FILE"; echo "--"; env; echo "$@"')
    file, rest = child.run(["state", "pull"], key=KEY).stdout.split("--\n")
    assert file.splitlines() == [
        "[default]",
        "aws_access_key_id = ACCESS",
        "aws_secret_access_key = very-secret-key",
    ]
    assert "very-secret-key" not in rest and "ACCESS" not in rest
    # A second reader begins at the beginning.
    twice = play('cat "$AWS_SHARED_CREDENTIALS_FILE" "$AWS_SHARED_CREDENTIALS_FILE"')
    assert twice.run(["x"], key=KEY).stdout.count("very-secret-key") == 2


def test_nothing_of_the_operators_environment_reaches_it(play, monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "TF_VAR_x", "TF_LOG", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "operators-own")
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/gone")
    seen = play("env").run(["version"], key=None).stdout
    assert "operators-own" not in seen and "/gone" not in seen
    assert "CHECKPOINT_DISABLE=1" in seen


def test_its_words_are_told_without_secrets(play):
    child = play("echo 'Error: very-secret-key is wrong' >&2; exit 1")
    with pytest.raises(CouldNotLook) as told:
        child.run(["apply", "-auto-approve"], key=KEY)
    assert told.value.message == ("tofu apply -auto-approve: status 1: Error: [redacted] is wrong")
    assert child.run(["plan"], key=KEY, statuses=(0, 1)).returncode == 1


def test_a_call_that_hangs_is_killed(play, monkeypatch):
    monkeypatch.setattr(tofu, "CALL_SECONDS", 2.0)
    child = play("echo $$ >pid; exec sleep 60")
    with pytest.raises(CouldNotLook, match=r"tofu plan: not over after 2 s"):
        child.run(["plan"], key=None)
    with pytest.raises(ProcessLookupError):
        os.kill(int((child.directory / "pid").read_text()), 0)


def test_a_program_that_is_missing_is_told(tmp_path, monkeypatch):
    with pytest.raises(CouldNotLook, match=r"none/tofu cannot be run: No such file"):
        tofu.Tofu(tmp_path / "none" / "tofu", tmp_path).run(["version"], key=None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CouldNotLook, match=r"no `tofu` in PATH.*nothing was touched"):
        tofu.tofu_on_path()
    (tmp_path / "tofu").touch(0o755)
    assert tofu.tofu_on_path() == tmp_path / "tofu"
