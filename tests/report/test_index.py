"""The page of all runs: what counts, twelve months, trends; in a browser, on paper, in the dark."""

import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fixtures.audit.policy import promises
from fixtures.evidence.html import main, read_runs, render_index, render_summary, write_index
from fixtures.evidence.programme import State, counts_until, until_words
from fixtures.evidence.record import IncusRecord, Verdict
from fixtures.evidence.writer import append_history, write_evidence
from tests.report.test_page import open_page
from tests.unit.test_evidence_judge import drill, run
from tests.unit.test_programme import ATLAS, CELL, NOW, stated

ROOT = Path(__file__).parents[2]
INCUS = IncusRecord(
    target="prod", version="7.0.2", server_name="s", pool="p", pool_driver="zfs", kernel="6.12"
)
OTHER = "Prometheus 2.54.0"


def record(days, cells, fleet=ATLAS, **changed):
    """A run of so many days ago; `changed` is of each of its drills."""
    at = NOW - timedelta(days=days)
    facts = {"begun": at, "software": None, "target_rto": 900.0} | changed
    drills = [
        drill(id=f"{s}-{scenario}-{o}", service=s, scenario=scenario, origin=o, **facts)
        for s, scenario, o in cells
    ]
    return run(
        run=f"{at:%Y%m%d-%H%M%S}-{days:06x}",
        begun=at,
        finished=at + timedelta(minutes=3),
        fleet="atlas",
        incus=INCUS,
        drills=drills,
        drills_made=len(drills),
        programme=promises(fleet),
    )


def keep(reports, *records):
    for each in records:
        write_evidence(each, reports / each.run)
        append_history(each, reports / "history.jsonl")


PROMETHEUS = [p.place for p in promises(ATLAS) if p.service == "prometheus"]
MOSQUITTO = ("mosquitto", "snapshot", "rehearsal")
NATIVE = ("prometheus", "native", "rehearsal")
LOKI = [("loki", "snapshot", "rehearsal"), ("loki", "tarball", "rehearsal")]


@pytest.fixture
def reports(tmp_path):
    """A run a year ago, one a quarter ago, one today with another Prometheus."""
    old = {"software": "Prometheus 2.53.3"}
    keep(
        tmp_path,
        record(366, LOKI, stated(), software="Loki 3.1.0"),
        record(91, [LOKI[0]], stated(), software="Loki 3.1.0"),
        record(90, PROMETHEUS, stated(), **old),
        record(8, [MOSQUITTO], stated(), verdict=Verdict.NOT_RECOVERED),
        record(0, [NATIVE], stated(), software=OTHER),
    )
    return tmp_path


def test_due_void_and_valid_are_as_they_must_be(reports):
    (programme,) = read_runs(reports, NOW).programmes
    states = {s.place: s.state for s in programme.standings}
    assert states[LOKI[0]] is State.VALID and states[LOKI[1]] is State.OVERDUE
    assert states[CELL] is State.VOID and states[NATIVE] is State.VALID
    assert states[MOSQUITTO] is State.DUE
    assert states["step-ca", "rebuild", "rehearsal"] is State.NEVER
    page = render_index(reports, NOW)
    assert "2 of 46 promised recoveries have a proof that counts." in page
    assert f"prometheus was Prometheus 2.53.3, and is {OTHER}" in page


def test_the_newest_proof_is_on_top_and_leads_to_its_report(browser, reports):
    page = open_page(browser, write_index(reports, NOW), 1280, "light")
    link = page.locator(".dr-hero a")
    assert link.inner_text() == "29 Nov 2026, 07:00 UTC"
    newest = record(0, [NATIVE]).run
    assert link.get_attribute("href") == f"{newest}/report.html"
    assert page.locator(".dr-runs tbody tr").count() == 5
    assert newest in page.locator(".dr-runs tbody tr").first.inner_text()
    states = page.locator("section:has(h3:text-is('What is due')) tbody tr").all_inner_texts()
    assert "overdue" in states[0] and "never proven" in states[-1]
    assert "due until 21 Dec 2026" in states[-2] and len(states) == 4


def test_the_calendar_says_when_a_proof_counted(reports):
    (programme,) = read_runs(reports, NOW).programmes
    standing = {s.place: s for s in programme.standings}
    months = programme.calendar(standing[CELL])
    assert len(months) == 13 and months[0].begin == datetime(2025, 11, 1, tzinfo=UTC)
    assert [m.begin.month for m in months if m.verdict] == [8]
    assert [round(m.covered, 2) for m in months[-4:]] == [0.02, 1, 1, 1], "until today's other one"
    later = read_runs(reports, NOW + timedelta(days=20)).programmes[0]
    (void,) = [s for s in later.standings if s.place == CELL]
    assert later.calendar(void)[-1].covered == 0
    red = programme.calendar(standing[MOSQUITTO])[-1]
    assert (red.verdict, red.covered) == (Verdict.NOT_RECOVERED, 0)
    assert red.words == "Nov 2026: 1 run, worst not recovered; proven 0% of the time"
    at = datetime(2026, 10, 1, 1, tzinfo=UTC)
    keep(reports, record(59, [LOKI[1]], stated(), begun=at, software="Loki 3.1.0"))
    (hour_short,) = [
        s for s in read_runs(reports, NOW).programmes[0].standings if s.place == LOKI[1]
    ]
    assert programme.calendar(hour_short)[-2].words.endswith("proven 99% of the time")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_neither_scrolls_sideways_nor_loads_anything(browser, reports, width, scheme):
    path, asked = write_index(reports, NOW), []
    page = open_page(browser, path, width, scheme)
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    assert asked == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(16, 21, 28)" if scheme == "dark" else "rgb(244, 245, 247)")
    assert page.locator(".dr-plot svg").first.bounding_box()["width"] > 60


def test_it_is_whole_without_scripts_and_on_paper(browser, reports):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 718, "height": 900})
    page = context.new_page()
    page.goto(write_index(reports, NOW).as_uri())
    page.emulate_media(media="print")
    assert page.locator(".dr-months tbody tr").count() == 46 + 9
    boxes = [box.bounding_box() for box in page.locator(".dr-months td, .dr-plot").all()]
    assert all(box["x"] + box["width"] <= 719 for box in boxes)
    assert "Newest proof" in page.locator("body").inner_text()
    context.close()


def test_what_is_amiss_with_the_reports_is_said(reports, tmp_path):
    with (reports / "history.jsonl").open("a") as stream:
        stream.write("torn\n")
    killed = reports / "20261128-000000-abcdef"
    killed.mkdir()
    (killed / "evidence.json").write_text("{}")
    gone = record(91, []).run
    (reports / gone / "evidence.json").unlink()
    page = re.sub(r"\s+", " ", render_index(reports, NOW))
    assert "line 18 is left out: not JSON" in page
    assert f"or their lines were removed (./run verify): {killed.name}" in page
    assert f"{gone}</small>" in page and f'href="{gone}' not in page
    assert "(its directory is not here)" in page


def test_text_of_a_history_is_text(browser, tmp_path):
    evil = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
    named = record(1, [CELL], software="Prometheus 1.2.3").model_copy(update={"operator": evil})
    keep(tmp_path, record(0, [NATIVE], software=evil), named)
    page = open_page(browser, write_index(tmp_path, NOW), 1280, "light")
    assert page.title() == "Recovery drills: all runs"
    assert page.locator("img").count() == 0
    assert evil in page.locator("body").inner_text()


def test_a_history_of_an_older_suite_has_its_runs_and_no_programme(tmp_path):
    line = json.loads((ROOT / "tests/cases/history/torn.jsonl").read_text().splitlines()[0])
    (tmp_path / "history.jsonl").write_text(json.dumps(line) + "\n")
    runs = read_runs(tmp_path, NOW)
    assert [run.run for run in runs.lines] == ["r1"] and runs.programmes == []
    assert "no evidence here has a programme" in render_index(tmp_path, NOW)


def test_the_command_makes_it_again_and_needs_a_history(reports, tmp_path, capsys):
    command = [sys.executable, "-m", "fixtures.evidence.html", str(reports)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"{reports}/index.html\n"), done.stderr
    assert (reports / "index.html").stat().st_mode & 0o777 == 0o640
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main([str(empty)]) == 1
    assert "nothing was written\nHINT: " in capsys.readouterr().err
    (empty / "history.jsonl").mkdir()
    assert main([str(empty)]) == 1
    assert list(empty.iterdir()) == [empty / "history.jsonl"]


RUNS = 1000
READINGS = 25
"""So many times as long as Python takes to parse the history at all; it takes some 10."""


def test_a_history_of_a_thousand_runs_is_a_page_in_seconds(tmp_path):
    """By processor time, at the best of three moments: others run beside it."""
    cells = [p.place for p in promises(ATLAS)][:41]
    keep(tmp_path, record(0, cells, software="Any 1.2.3"))
    text = (tmp_path / "history.jsonl").read_text()
    lines = []
    for number in range(RUNS - 1, 0, -1):
        at = NOW - timedelta(days=number * 0.4)
        other = text.replace(record(0, []).run, f"{at:%Y%m%d-%H%M%S}-{number:06x}")
        lines.append(other.replace('"begun":"2026-11-29T07:00:00Z"', f'"begun":"{at:%FT%TZ}"'))
    (tmp_path / "history.jsonl").write_text("".join([*lines, text]))
    history = (tmp_path / "history.jsonl").read_text().splitlines()

    def ratio():
        begun = time.process_time()
        for line in history:
            json.loads(line)
        parsed = time.process_time()
        page = render_index(tmp_path, NOW)
        rendered = time.process_time()
        assert f"Recovery drills: {RUNS} runs since" in page
        assert f"41 of {len(promises(ATLAS))} promised" in page
        return (rendered - parsed) / (parsed - begun)

    assert any(ratio() < READINGS for _ in range(3))


def test_the_head_of_a_report_says_until_when_as_the_index_does(tmp_path):
    """Of what the run has proven itself: nothing late, nothing of which one variant is red."""
    late = drill(service="loki", scenario="tarball", target_rto=4.0)
    made = record(0, [MOSQUITTO, NATIVE, LOKI[0]], stated(every="1y"))
    (first, second, third), red = made.drills, late.model_copy(update={"begun": made.begun})
    odd = third.model_copy(update={"variant": "new-volume", "verdict": Verdict.NOT_RECOVERED})
    made = made.model_copy(update={"drills": [first, second, third, odd, red]})
    keep(tmp_path, made)
    (programme,) = read_runs(tmp_path, NOW + timedelta(hours=1)).programmes
    valid = {s.place: s.until for s in programme.standings if s.state is State.VALID}
    assert counts_until(made) == valid and valid.keys() == {MOSQUITTO, NATIVE}
    says = "29 Nov 2027 (2 recoveries), as the fleet file's programme says, else by criticality"
    assert f"What recovered counts on prod until {says}; a change" in until_words(made)
    # So do the cards of both; that of the green variant does not.
    assert render_summary(made).count("unless what was proven changes") == 2
    for changed, says in (
        ({"finished": None}, "Nothing of it counts"),
        ({"drills": [odd]}, "Nothing of it counts"),
        ({"programme": []}, "Until when it counts is not said"),
        ({"programme": promises(ATLAS)}, "by criticality, since the fleet file sets no interval"),
    ):
        assert says in until_words(made.model_copy(update=changed)), changed
