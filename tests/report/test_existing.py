"""What the page shows of existing backups: their age, and what they were compared with."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fixtures.evidence.history import history_lines
from fixtures.evidence.html import render_drill, render_summary
from fixtures.evidence.judge import judge_drill
from fixtures.evidence.openmetrics import metrics
from fixtures.evidence.record import RunRecord
from fixtures.evidence.terminal import summary_lines
from fixtures.evidence.verdict import Verdict
from fixtures.evidence.wording import age
from tests.report.test_html import words
from tests.unit.test_evidence_judge import drill

DAY = 86400.0


@pytest.mark.parametrize(
    "rpo, target, verdict",
    [
        (DAY, 1.1 * DAY, Verdict.RECOVERED),
        (1.2 * DAY, 1.1 * DAY, Verdict.RECOVERED_LATE),
        (None, 1.1 * DAY, Verdict.RECOVERED_LATE),
        (900 * DAY, None, Verdict.RECOVERED),
    ],
)
def test_a_stale_backup_is_late(rpo: float | None, target: float | None, verdict: Verdict) -> None:
    assert judge_drill(drill(origin="existing", rpo=rpo, target_rpo=target)) is verdict


def test_its_own_table_says_what_would_be_lost(golden: RunRecord) -> None:
    one = drill(
        id="loki-snapshot-existing",
        service="loki",
        origin="existing",
        rpo=1.5 * DAY,
        target_rpo=1.1 * DAY,
        compared_with="the note beside the backup",
    )
    run = golden.model_copy(update={"drills": [*golden.drills, one]})
    text = words(render_summary(run))
    assert "Existing backups If the source burned now" in text
    assert "1 d 12 h of 1 d 2 h" in text
    assert "! recovered late compared with the note beside the backup" in text
    assert "age of its data; the schedule allows 1 d 2 h" in words(render_drill(one))
    rehearsed = golden.model_copy(
        update={"drills": [d for d in golden.drills if d.origin == "rehearsal"]}
    )
    assert "Existing backups If the source" not in words(render_summary(rehearsed))


def test_of_another_moment_no_age_of_now_is_told(golden: RunRecord) -> None:
    one = drill(id="loki-snapshot-existing", service="loki", origin="existing", rpo=7200.0)
    run = golden.model_copy(update={"drills": [*golden.drills, one]})
    assert 'dr_drill_rpo_seconds{origin="existing"' in metrics(run)
    assert history_lines(run)[-1].rpo == 7200.0
    then = run.model_copy(update={"as_of": datetime(2026, 1, 10, tzinfo=UTC)})
    assert 'dr_drill_rpo_seconds{origin="existing"' not in metrics(then)
    assert 'dr_drill_rpo_seconds{origin="rehearsal"' in metrics(then)
    assert history_lines(then)[-1].rpo is None
    text = words(render_summary(then))
    assert "as of 2026-01-10 00:00 UTC (--as-of), not as of this run" in text
    assert "If the source had burned at" in text
    assert "burned now" not in text
    assert "as of 2026-01-10 00:00 UTC" in " ".join(" ".join(summary_lines(then)).split())


def test_ages_are_told_in_days() -> None:
    assert [age(None), age(59), age(DAY), age(9 * DAY + 7200)] == [
        "\N{EM DASH}",
        "59 s",
        "1 d",
        "9 d 2 h",
    ]
