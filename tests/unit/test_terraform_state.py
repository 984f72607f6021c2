"""Calls of OpenTofu, which a script plays, and states as they are found in buckets."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

import fixtures.services.terraform_state as tofu
from fixtures.errors import CouldNotLook
from fixtures.incus.volumes import BucketKey
from fixtures.recovery.bucket import name_in
from fixtures.secrets import Secret
from fixtures.services.terraform_state import ObjectRead, StateBucket, check_whole

KEY = BucketKey("admin", "admin", "ACCESS", Secret("very-secret-key"))
ENCRYPTED = (Path(__file__).parents[1] / "cases" / "state" / "encrypted.tfstate").read_bytes()


@pytest.fixture
def play(tmp_path):
    def make(script):
        program = tmp_path / "tofu"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return tofu.Tofu(program, tmp_path)

    return make


def test_the_key_is_read_from_a_descriptor_and_is_nowhere_else(play, monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "TF_VAR_x", "TF_LOG", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "operators-own")
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/gone")
    # A second reader begins at the beginning.
    file = '"$AWS_SHARED_CREDENTIALS_FILE"'
    child = play(f'cat {file} {file}; echo "--"; env; echo "$@"')
    twice, rest = child.run(["state", "pull"], key=KEY).stdout.split("--\n")
    content = ["aws_access_key_id = ACCESS", "aws_secret_access_key = very-secret-key"]
    assert twice.splitlines() == ["[default]", *content] * 2
    assert not any(word in rest for word in ("very-secret-key", "ACCESS\n", "own", "/gone"))
    assert "CHECKPOINT_DISABLE=1" in rest


def test_its_words_are_in_the_message_without_secrets(play):
    child = play("echo 'Error: very-secret-key is wrong' >&2; exit 1")
    with pytest.raises(CouldNotLook) as caught:
        child.run(["apply", "-auto-approve"], key=KEY)
    assert caught.value.message == "tofu apply -auto-approve: status 1: Error: [redacted] is wrong"
    assert child.run(["plan"], key=KEY, statuses=(0, 1)).returncode == 1


def test_a_call_that_hangs_is_killed(play, monkeypatch):
    monkeypatch.setattr(tofu, "CALL_SECONDS", 2.0)
    child = play("echo $$ >pid; exec sleep 60")
    with pytest.raises(CouldNotLook, match=r"tofu plan: not over after 2 s"):
        child.run(["plan"], key=None)
    with pytest.raises(ProcessLookupError):
        os.kill(int((child.directory / "pid").read_text()), 0)


def test_a_program_that_is_missing_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(CouldNotLook, match=r"none/tofu cannot be run: No such file"):
        tofu.Tofu(tmp_path / "none" / "tofu", tmp_path).run(["version"], key=None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CouldNotLook, match=r"no `tofu` in PATH.*nothing was touched"):
        tofu.tofu_on_path()
    (tmp_path / "tofu").touch(0o755)
    assert tofu.tofu_on_path() == tmp_path / "tofu"


def bucket(state):
    """A bucket with one object, which is all that is asked for here."""
    return SimpleNamespace(s3=SimpleNamespace(get=lambda _key: state), key="a.tfstate", reader=None)


def test_an_object_with_another_sum_than_s3_keeps_is_damaged():
    read = {"a.tfstate": ObjectRead(3, "f" * 64, True), "parts": ObjectRead(5, "d" * 64, None)}
    whole, _ = check_whole(bucket(b"{}"), read)
    in_parts = "1 were written in parts, and have no such sum"
    assert (whole.held, whole.detail) == (True, f"2 objects, 8 bytes; {in_parts}")
    whole, _ = check_whole(bucket(b"{}"), read | {"b": ObjectRead(4, "e" * 64, False)})
    detail = f"3 objects, 12 bytes; {in_parts}; object b has other content"
    assert (whole.held, whole.detail) == (False, detail)


RESOURCE = {"mode": "managed", "type": "a", "name": "b", "instances": []}
FLAT = RESOURCE | {"instances": [{"attributes_flat": {"id": "1"}}]}


@pytest.mark.parametrize(
    "state, count",
    [
        ({"version": 4, "resources": []}, 0),
        ({"version": 4, "resources": [FLAT, RESOURCE | {"mode": "data"}]}, 2),
        *(({"version": 4, "resources": none}, 0) for none in (None, [])),
        *(({"version": n, "modules": [{"resources": {"a.b": {}}}]}, 1) for n in (1, 2, 3)),
        ({"version": 3, "modules": None}, 0),
        ({"version": 4, "serial": 2**64 - 1, "resources": []}, 0),
    ],
)
def test_every_state_that_opentofu_reads_is_one(state, count):
    written = json.dumps({"serial": 7, "lineage": "3f1c", **state}).encode()
    _, proof = check_whole(bucket(written), {})
    serial = state.get("serial", 7)
    assert (proof.held, proof.detail) == (True, f"serial {serial}, lineage 3f1c, {count} resources")


@pytest.mark.parametrize("version, held", [(1, True), (2, True), (4, False)])
def test_the_first_two_versions_had_no_lineage(version, held):
    state = {"version": version, "serial": 7, "lineage": "", "resources": [], "modules": []}
    if version < 3:
        del state["lineage"], state["resources"]
    _, proof = check_whole(bucket(json.dumps(state).encode()), {})
    assert (proof.held, proof.detail) == (held, "serial 7, lineage none, 0 resources")


def changed(**fields):
    return json.dumps(json.loads(ENCRYPTED) | fields).encode()


def stated(**fields):
    state = {"version": 4, "serial": 7, "lineage": "3f1c", "resources": []}
    return json.dumps(state | fields).encode()


NO_STATE = "cannot be read as one"


@pytest.mark.parametrize(
    "state, held, detail, refusal",
    [
        (
            ENCRYPTED,
            True,
            "encrypted by OpenTofu (serial 7, lineage 3f1c9f0e-",
            "is encrypted by OpenTofu: it is no drill's own",
        ),
        (changed(encrypted_data=""), False, "not looked at inside", "is encrypted"),
        (changed(encryption_version=None), False, "not looked at inside", "is encrypted"),
        *(
            (text, False, NO_STATE, "is no state of OpenTofu")
            for text in (b"", b"null", b"[]", b"[" * 100_000, b"{}", b"\xff", b'"x"')
        ),
        # OpenTofu 1.12.6 reads neither.
        *(
            (stated().decode().encode(encoding), False, NO_STATE, "is no state of OpenTofu")
            for encoding in ("utf-8-sig", "utf-16", "utf-32")
        ),
        *(
            (stated(**fields), False, NO_STATE, "is no state of OpenTofu")
            for fields in (
                *({"version": 1e999}, {"version": 5}, {"resources": ["a"]}, {"lineage": ["x"]}),
                *(
                    {"serial": -1},
                    {"serial": 1.5},
                    {"serial": True},
                    {"serial": 2**64},
                    {"resources": [RESOURCE | {"instances": ["a"]}]},
                ),
            )
        ),
    ],
)
def test_nothing_is_applied_over_an_encrypted_state_or_what_is_none(state, held, detail, refusal):
    _, proof = check_whole(bucket(state), {})
    assert proof.held is held and detail in proof.detail
    with pytest.raises(CouldNotLook, match=refusal):
        StateBucket.must_be_canaries(bucket(state))


def test_a_bucket_is_named_by_its_project_and_a_long_name_is_cut_but_unique():
    assert name_in("drill-20260101-000000-abcdef-main") == "drill-20260101-000000-abcdef-main-state"
    one, other = (name_in("drill-" + "x" * 60 + end) for end in "ab")
    assert len(one) == len(other) == 63 and one != other
    assert one.endswith("-state") and "--" not in one
