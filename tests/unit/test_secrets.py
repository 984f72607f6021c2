"""A secret does not print itself, and no log line carries it."""

import logging

import pytest

from fixtures.plugin.options import redact_logs
from fixtures.secrets import Secret, mark_public, redact


def test_a_secret_shows_nothing_and_text_is_redacted_longest_first():
    secret = Secret("correct horse battery staple")
    assert "correct" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "correct horse battery staple"
    Secret("hunter2")
    Secret("hunter2-and-more")
    assert redact("a hunter2-and-more b hunter2 c") == "a [redacted] b [redacted] c"


def test_a_log_line_is_redacted_and_steers_no_terminal(caplog):
    redact_logs()
    Secret("s3cr3t-key")
    logging.getLogger("x").warning("key is %s\x1b[2J", "s3cr3t-key")
    logging.getLogger("x").info("%d of %s", 1)
    assert caplog.messages[0] == "key is [redacted]\\x1b[2J"


@pytest.mark.parametrize("word", ["data", "x", "mosquitto", "password", "2026", "snapshot"])
def test_a_word_that_anybody_writes_blackens_no_report(word):
    Secret(word)
    Secret(f"{word}\n".encode())
    text = f"the {word} of grafana01-{word}s"
    assert redact(text) == text


def test_what_the_fleet_file_says_is_no_secret():
    Secret("zz-grafana01-data")
    assert redact("volume zz-grafana01-data") == "volume [redacted]"
    mark_public("volumes: [zz-grafana01-data]")
    assert redact("volume zz-grafana01-data") == "volume zz-grafana01-data"


def test_bytes_are_kept_as_they_are_and_hidden_however_they_are_shown():
    raw = "pässwort-ü\r".encode("latin-1")
    secret = Secret(raw)
    assert secret.reveal_bytes() == raw
    for shown in (raw.decode("latin-1"), raw.decode(errors="replace"), secret.reveal()):
        assert "sswort" not in redact(f"it is {shown}")
    assert Secret("plain-text-ü").reveal_bytes() == "plain-text-ü".encode()
