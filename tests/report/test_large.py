"""The page of a run of very many drills: small, whole, and unfolded in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from fixtures.evidence import large
from fixtures.evidence.brief import LARGE
from fixtures.evidence.html import main, render_drill, render_page, render_summary
from fixtures.evidence.packing import packing
from fixtures.evidence.record import CanaryRecord, DrillRecord, RunRecord
from fixtures.evidence.store import StoredDrills
from fixtures.evidence.writer import read_evidence, write_evidence
from tests.report.stock import large_run
from tests.report.test_html import words

DRILLS = 2000
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """A large run, in which one drill brought wrong data back and has markup in its words."""
    sound = large_run(DRILLS, tmp_path_factory.mktemp("sound"))
    drills = list(sound.drills)
    lost = CanaryRecord(written=[EVIL, "b"], recovered=["b"], lost=[EVIL])
    drills[777] = drills[777].model_copy(
        update={"service": "spoilt", "variant": "odd", "canaries": lost, "notes": [EVIL]}
    )
    wrong = sound.model_copy(update={"drills": drills})
    return read_evidence(write_evidence(wrong, tmp_path_factory.mktemp("wrong")))


@pytest.fixture(scope="module")
def path(run: RunRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    page = tmp_path_factory.mktemp("page") / "page.html"
    page.write_text(render_page(run), encoding="utf-8")
    return page


def spoilt(run: RunRecord) -> DrillRecord:
    return next(drill for drill in run.drills if drill.service == "spoilt")


def opened(browser: Browser, path: Path, **settings: bool) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 844}, **settings).new_page()
    page.goto(path.as_uri())
    return page


def test_a_drill_takes_less_than_a_kilobyte(run: RunRecord, path: Path) -> None:
    assert isinstance(run.drills, StoredDrills)
    few = len(render_page(run.model_copy(update={"drills": list(run.drills[:LARGE])})))
    assert few > 10_000 * LARGE, "in full, a drill takes more than ten"
    assert path.stat().st_size < 1000 * DRILLS


def test_the_command_packs_the_cards_beside_and_makes_the_same_page(
    run: RunRecord, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = write_evidence(run, tmp_path)
    monkeypatch.setattr(large, "packed", lambda _: pytest.fail("packed here"))
    with packing(evidence) as beside:
        assert beside is not None
        assert render_page(read_evidence(evidence), beside) == path.read_text(encoding="utf-8")


def test_cards_of_another_number_of_drills_are_not_taken(
    run: RunRecord, path: Path, tmp_path: Path
) -> None:
    shorter = run.model_copy(update={"drills": list(run.drills[:-1])})
    with packing(write_evidence(shorter, tmp_path)) as beside:
        assert render_page(run, beside) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["cut", "field", "missing"])
def test_of_damaged_evidence_there_is_no_page_but_a_sentence(
    run: RunRecord, tmp_path: Path, capfd: pytest.CaptureFixture[str], damage: str
) -> None:
    evidence = write_evidence(run, tmp_path)
    text = evidence.read_text(encoding="utf-8")
    if damage == "cut":
        evidence.write_text(text[: len(text) // 2], encoding="utf-8")
    elif damage == "field":
        evidence.write_text(text.replace('"target_rto":', '"target":'), encoding="utf-8")
    else:
        evidence.unlink()
    assert main([str(evidence)]) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("no page: ")
    assert str(evidence) in said.err
    assert "Traceback" not in said.err


def test_every_drill_has_its_row_and_its_verdict(run: RunRecord, path: Path) -> None:
    rows = re.findall(r"<tr data-row=(\d+)><th>([^<]+)<td>", path.read_text())
    assert sorted(int(at) for at, _ in rows) == list(range(DRILLS))
    assert {name for _, name in rows} == {drill.service for drill in run.drills}
    assert "1 wrong data" in words(render_summary(run))


def test_the_first_of_all_is_what_did_not_recover(browser: Browser, path: Path) -> None:
    page = opened(browser, path)
    table = page.get_by_role("region", name="No recovery")
    assert table.locator("tbody tr").count() == 1
    assert "≠ wrong data" in " ".join(table.inner_text().split())
    assert "lost: " + EVIL in table.inner_text()


def test_an_unfolded_row_says_what_the_card_says(
    browser: Browser, run: RunRecord, path: Path
) -> None:
    page = opened(browser, path)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    page.get_by_role("region", name="No recovery").locator(".dr-unfold").click()
    card = page.locator(".dr-under .dr-card")
    card.wait_for()
    told = set(re.findall(r"\w+", card.inner_text()))
    # What the full card folds (`... and 3 more`) stands open here.
    whole = re.sub(r"\.\.\. and \d+ more", "", words(render_drill(spoilt(run))))
    missing = set(re.findall(r"\w+", whole)) - told
    assert missing == set()
    assert asked == [], "nothing is loaded, and nothing of a record is run"
    assert page.locator(".dr-under script").count() == 0


def test_any_row_of_a_scenario_unfolds_to_its_own_drill(
    browser: Browser, run: RunRecord, path: Path
) -> None:
    page = opened(browser, path)
    summary = page.locator("summary", has_text="key-compromise")
    fold = page.locator(".dr-scenario", has=summary)
    fold.locator("summary").first.click()
    at = int(fold.locator("tr[data-row]").last.get_attribute("data-row") or "")
    row = fold.locator(f'tr[data-row="{at}"]')
    row.locator(".dr-unfold").click()
    card = fold.locator(".dr-under .dr-card")
    card.wait_for()
    drill = run.drills[at]
    assert drill.scenario == "key-compromise"
    assert drill.project and drill.project in card.inner_text()
    assert all(check.name in card.inner_text() for check in drill.checks)
    row.locator(".dr-unfold").click()
    assert not card.is_visible()


def test_rows_are_found_by_a_word(browser: Browser, path: Path) -> None:
    page = opened(browser, path)
    page.get_by_placeholder("service, way, verdict or reason").fill("odd")
    page.wait_for_function("document.querySelector('.dr-find output').textContent === '1 rows'")
    assert page.locator(".dr-scenario:visible").count() == 1


def test_without_scripts_the_page_says_where_the_details_are(browser: Browser, path: Path) -> None:
    page = opened(browser, path, java_script_enabled=False)
    assert page.get_by_text("Every detail of them is in evidence.json").is_visible()
    assert page.locator(".dr-find").is_hidden()
    assert page.locator(".dr-scenario summary").count() > 3


def test_it_does_not_scroll_sideways(browser: Browser, path: Path) -> None:
    for width in (1280, 390):
        context = browser.new_context(viewport={"width": width, "height": 844})
        page = context.new_page()
        page.goto(path.as_uri())
        page.locator(".dr-scenario summary").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        context.close()
