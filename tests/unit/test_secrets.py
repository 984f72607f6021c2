"""A secret does not print itself, and no log line carries it."""

from __future__ import annotations

import logging

from fixtures.secrets import RedactingFilter, Secret, redact


def test_a_secret_shows_nothing():
    secret = Secret("correct horse battery staple")
    assert "correct" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "correct horse battery staple"


def test_text_is_redacted_longest_first():
    Secret("hunter2")
    Secret("hunter2-and-more")
    assert redact("a hunter2-and-more b hunter2 c") == "a [redacted] b [redacted] c"


def test_a_log_record_is_redacted_with_its_arguments():
    Secret("s3cr3t-key")
    record = logging.LogRecord("x", logging.INFO, "f", 1, "key is %s", ("s3cr3t-key",), None)
    assert RedactingFilter().filter(record)
    assert record.getMessage() == "key is [redacted]"
