"""The after-action record and the page of controls, as they are looked at: screen, phone, paper."""

import re
from datetime import date
from pathlib import Path

import pytest

from fixtures.evidence.html import render_review
from fixtures.evidence.review import ReviewText, add_entry
from fixtures.evidence.writer import write_evidence
from tests.report.test_page import open_page

SAMPLE = Path(__file__).parents[2] / "reports" / "sample"
PAGES = ("review.html", "controls.html")
COLOURS = "(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))"
SHEET = re.compile(rb"/Type /Page\b")
WHAT = "a mirror of the vendor's packages inside the network, tested from each of the machines"


@pytest.fixture
def red_page(tmp_path, golden):
    """The record of a run with every kind of fault, and an action on each of its items."""
    write_evidence(golden, tmp_path)
    fix = {"owner": "Ada Berg", "by": date(2999, 1, 1), "what": WHAT}
    text = ReviewText.model_validate(
        {"actions": [{"items": ["*"], "fix": fix}], "observations": [WHAT] * 6, "revisions": [WHAT]}
    )
    review = add_entry(tmp_path, golden, text, user="root")
    page = tmp_path / "review.html"
    page.write_text(render_review(golden, review, "00"))
    return page


def opened(browser, file, width, scheme="light"):
    page, asked = open_page(browser, file, width, scheme), []

    def note(request):
        asked.append(request.url)

    page.on("request", note)
    page.reload()
    page.remove_listener("request", note)
    assert asked == [file.as_uri()]
    return page


def sheets(browser, file):
    page = opened(browser, file, 1000)
    printed = page.pdf(format="A4", prefer_css_page_size=True)
    return len(SHEET.findall(printed))


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_screen(browser, name, width):
    page = opened(browser, SAMPLE / name, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_record_is_two_sheets_with_lines_for_signatures(browser, red_page):
    assert 1 <= sheets(browser, SAMPLE / "review.html") <= 2
    assert 1 <= sheets(browser, red_page) <= 2
    page = opened(browser, red_page, 1000)
    assert page.locator(".aar-lines tbody tr").count() == 3


@pytest.mark.parametrize("name", PAGES)
def test_it_is_read_in_the_dark(browser, name):
    light, dark = (
        opened(browser, SAMPLE / name, 1000, scheme).evaluate(COLOURS)
        for scheme in ("light", "dark")
    )
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    assert dark[0] != dark[1]
