"""What services say steers no terminal and no page, wherever it is shown."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.clock import PHASES
from fixtures.errors import CouldNotLook, printable
from fixtures.evidence import judge
from fixtures.evidence.html import render_summary
from fixtures.evidence.openmetrics import metrics
from fixtures.evidence.record import AuditRecord, RunRecord
from fixtures.plugin.options import redact_logs
from fixtures.plugin.terminal import summary_lines
from tests.unit.test_evidence_judge import BEGUN, drill, run

ESCAPES = "\x1b[2J\x1b]0;title\x07\x9b31m\r\u202eNEVOCER\u2028\udcff\0"


def is_shown(text):
    return not any(character in text for character in ESCAPES if not character.isascii()) and not (
        set(text) & set("\x1b\x07\r\0")
    )


@given(st.text(st.characters(codec=None)))
def test_what_is_shown_is_seen(text):
    shown = printable(text)
    assert is_shown(shown)
    assert printable(shown) == shown
    shown.encode()


def test_errors_say_it_printably_and_what_people_write_stays():
    text = "Grüße, 日本語, emoji \N{THUMBS UP SIGN}\N{ZERO WIDTH JOINER}, tab\tand line\nend"
    assert printable(text) == text
    error = CouldNotLook(f"GET /: status 503: {ESCAPES}", hint=ESCAPES)
    for shown in (str(error), error.message, error.hint, str(error.args)):
        assert is_shown(shown)
    assert "\\x1b[2J" in error.message


@pytest.fixture
def said():
    """A run in which a service has said it wherever something of a service is told."""
    check = {"name": f"answers{ESCAPES}", "outcome": "broken", "detail": ESCAPES}
    canaries = {"written": [ESCAPES], "lost": [ESCAPES]}
    texts = dict.fromkeys(("reason", "software", "trace"), ESCAPES)
    drilled = drill(checks=[check], notes=[ESCAPES], canaries=canaries, **texts)
    about = {"id": "x", "subject": f"s{ESCAPES}", "topic": "runbook", "begun": BEGUN, "seconds": 1}
    audit = AuditRecord(**about, checks=[{**check, "advice": ESCAPES}])
    return run(drills=[drilled], audits=[audit], errors=[ESCAPES], warnings=[ESCAPES])


def test_every_report_and_log_shows_it_printably(said, caplog):
    redact_logs()
    logging.getLogger("drills").warning("said: %s", ESCAPES)
    text = said.model_dump_json()
    summary = "\n".join(summary_lines(said))
    for shown in (summary, render_summary(said), metrics(said), text, caplog.messages[-1]):
        assert is_shown(shown)
    assert "\\u001b" not in text
    assert RunRecord.model_validate_json(text) == said


def test_the_phases_have_the_same_names_for_the_clock_and_for_the_judge():
    assert judge.PHASES == PHASES
