"""The page in a real browser, inside pytest-html's own page and alone."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from fixtures.evidence.html import CSS_FILE, render_page
from fixtures.evidence.record import AuditRecord
from fixtures.evidence.writer import read_evidence
from tests.unit.test_evidence_judge import SKIPPED

# What fixtures/plugin does with the renderers, as small as it can be.
CONFTEST = """
from pathlib import Path
from fixtures.evidence import html
from fixtures.evidence.writer import read_evidence

RUN = read_evidence(Path({evidence!r}))
DRILLS = {{drill.id: drill for drill in RUN.drills}}

def drill_of(report):
    return DRILLS.get(report.nodeid.partition("[")[2].rstrip("]"))

def pytest_html_report_title(report):
    report.title = f"Recovery drill {{RUN.run}}"

def pytest_html_results_summary(prefix, summary, postfix, session):
    prefix.append(html.render_summary(RUN))

def pytest_html_results_table_header(cells):
    cells[2:] = html.table_header()

def pytest_html_results_table_row(report, cells):
    cells[2:] = html.table_cells(drill_of(report))
"""
TEST = """
import time, pytest
@pytest.mark.parametrize("drill", {ids!r})
def test_drill(drill):
    time.sleep(1.2)
    print("a line of the log " * 40)
    assert drill.startswith("step-ca-snapshot")
"""


@pytest.fixture(scope="session")
def report(tmp_path_factory, golden):
    """pytest-html's page over the golden run, made by a pytest of its own."""
    folder = tmp_path_factory.mktemp("page")
    evidence = Path(__file__).parent / "evidence-v1.json"
    (folder / "conftest.py").write_text(CONFTEST.format(evidence=str(evidence)))
    names = [drill.id for drill in golden.drills]
    (folder / "test_drills.py").write_text(TEST.format(ids=names))
    (folder / "pytest.ini").write_text("[pytest]\n")
    page = folder / "report.html"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_drills.py"),
            *(f"--html={page}", "--self-contained-html", f"--css={CSS_FILE}"),
        ],
        cwd=folder,
        # Outside of the checkout, it finds the engine by this variable alone.
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert "5 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    return page


@pytest.fixture(scope="session")
def pages(tmp_path_factory, golden, report):
    """The same page alone, rendered from evidence without pytest; and with gaps."""
    recovered = {"drills": golden.drills[:1], "skipped": [SKIPPED], "errors": []}
    runs = {"alone": golden, "gaps": golden.model_copy(update=recovered)}
    made = {name: write_page(run, tmp_path_factory.mktemp(name)) for name, run in runs.items()}
    return {"report": report, **made}


def write_page(run, directory):
    """Write the page of a run."""
    page = directory / "page.html"
    page.write_text(render_page(run), encoding="utf-8")
    return page


@cache
def window(browser, is_phone):
    """One for all tests: to open one takes longer than a test."""
    return browser.new_context(is_mobile=is_phone).new_page()


def open_page(browser, path, width, scheme):
    """`path` in a window of `width` pixels, phones being phones."""
    page = window(browser, width < 500)
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(media="null", color_scheme=scheme)
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("kind", ["report", "alone"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_scrolls_sideways(browser, kind, width, pages):
    page = open_page(browser, pages[kind], width, "light")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_finding_is_read_whole_on_a_phone(browser, golden, tmp_path):
    name = "atlas-terraform-state/full-rebuild-with-data/existing: to be repaired until 2026-12-31"
    check = {"name": name, "outcome": "broken", "detail": "overdue"}
    audit = AuditRecord(
        id="a", subject="fleet", topic="follow-up", begun=golden.begun, seconds=1, checks=[check]
    )
    made = golden.model_copy(update={"audits": [audit]})
    page = open_page(browser, write_page(made, tmp_path), 390, "light")
    box = page.locator(".dr-findings b").first.bounding_box()
    assert box["x"] + box["width"] <= 390


def test_paper_holds_the_whole_width(browser, pages):
    page = open_page(browser, pages["alone"], 718, "light")
    page.emulate_media(media="print")
    wide = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.dr *')].map(e => e.scrollWidth))"
    )
    assert wide <= 718


@pytest.mark.parametrize("kind", ["alone", "gaps"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser, kind, scheme, pages):
    page = open_page(browser, pages[kind], 1280, scheme)
    faint = page.evaluate(
        """() => {
        const parse = c => c.match(/[\\d.]+/g).map(Number);
        const light = c => parse(c).slice(0, 3).map(v => v / 255)
            .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
        const ground = e => { for (; e; e = e.parentElement) {
            const c = getComputedStyle(e).backgroundColor;
            const p = parse(c); if (p.length < 4 || p[3] > 0) return c; }
            return 'rgb(255, 255, 255)'; };
        return [...document.querySelectorAll('.dr *')].filter(e =>
            [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())
            && e.tagName !== 'SCRIPT').map(e => {
            const [a, b] = [light(getComputedStyle(e).color), light(ground(e))]
                .sort((x, y) => y - x);
            return [(a + .05) / (b + .05), e.textContent.slice(0, 40)];
        }).filter(([ratio]) => ratio < 4.5); }"""
    )
    assert faint == []


def test_the_page_says_its_age_and_runs_nothing_of_a_record(browser, pages):
    page = open_page(browser, pages["alone"], 390, "light")
    dialogs = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.reload()
    assert page.locator(".dr-age").inner_text().endswith(" old as you read this")
    assert page.locator(".dr-card", has_text="<script>alert(1)</script>").count() == 1
    assert dialogs == []


def test_each_test_links_to_its_card_and_no_duration_of_pytest_is_next_to_an_rto(browser, report):
    page = open_page(browser, report, 1280, "light")
    assert page.locator("#results-table .col-duration").count() == 0
    head = page.locator("#results-table-head th").all_inner_texts()
    assert head == ["Result", "Test", "Verdict", "RTO", "Target", "Details"]
    rto = page.locator("#results-table .col-rto").all_inner_texts()
    # Each test slept 1.2 s; the golden RTOs are others, and one in doubt is a dash.
    assert sorted(rto) == ["2.14 s", "39 min 57 s", "—", "—", "—", "—"]
    assert not page.get_by_text(" took ").first.is_visible()
    links = page.locator("#results-table .col-details a")
    targets = [link.get_attribute("href") for link in links.all()]
    assert len(targets) == len(set(targets)) == 6
    assert all(page.locator(f'[id="{str(target)[1:]}"]').count() == 1 for target in targets)


def test_nothing_is_loaded_from_elsewhere(browser, report):
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    assert asked == [report.as_uri()]


def test_a_page_of_a_thousand_drills_opens(browser, tmp_path):
    sample = read_evidence(Path(__file__).parent / "evidence-2026-11.json")
    drills = [
        drill.model_copy(update={"id": f"{drill.id}-{n}", "service": f"{drill.service}-{n}"})
        for n in range(17)
        for drill in sample.drills
    ][:1000]
    services = list(dict.fromkeys(drill.service for drill in drills))
    path = write_page(sample.model_copy(update={"drills": drills, "services": services}), tmp_path)
    assert path.stat().st_size < 12_000_000
    page = open_page(browser, path, 1280, "light")
    assert page.locator(".dr-card").count() == 1000
    page.locator(".dr-card > details > summary").last.click()
    assert page.locator(".dr-card > details > .dr-facts").last.is_visible()
