"""Coverage is a query: every declared cell is answered by a drill or by a reason."""

from __future__ import annotations

from fixtures.fleet.model import declared_cells
from fixtures.plugin.collect import (
    ENCRYPTED_ONES,
    NO_DIRECTORY,
    NOT_PROMISED,
    ONE_BY_ONE,
    unanswered,
    why_not,
)


def test_every_cell_has_a_drill_or_a_reason(fleet):
    cells = unanswered(fleet, [])
    seen = {(cell.service, cell.scenario, cell.origin): cell.reason for cell in cells}
    rows = len(fleet.services) + len(fleet.buckets) + 1
    assert len(seen) == rows * len(fleet.targets) * 2
    assert all(seen.values())
    promised = {cell for cell, reason in seen.items() if reason != NOT_PROMISED}
    assert promised == set(declared_cells(fleet))


def test_a_rehearsal_never_answers_for_an_existing_backup(fleet):
    cells = unanswered(fleet, [], has_files=False)
    reasons = {(c.service, c.scenario): c.reason for c in cells if c.origin == "existing"}
    assert reasons["step-ca", "encrypted-tarball"] == NO_DIRECTORY
    assert reasons["atlas-terraform-state", "native"] == NO_DIRECTORY
    assert reasons["step-ca", "snapshot"] == "not selected in this run"
    assert reasons["fleet", "full-rebuild-with-data"] == ONE_BY_ONE


def test_encrypted_tarballs_take_the_place_of_plaintext_ones(fleet):
    assert why_not(fleet.service("step-ca"), "tarball", "existing") == ENCRYPTED_ONES
    assert why_not(fleet.service("step-ca"), "tarball", "rehearsal") is None
    assert why_not(fleet.service("loki"), "tarball", "existing") is None


def test_what_can_be_drilled_has_no_excuse(fleet):
    assert why_not(fleet.service("step-ca"), "tarball", "rehearsal") is None


def test_a_service_without_an_image_says_so(fleet):
    without = fleet.service("loki").model_copy(update={"image": None})
    assert why_not(without, "snapshot", "rehearsal") == "no image recipe in the lab yet"
    copied = without.model_copy(update={"provision": "copy"})
    assert why_not(copied, "snapshot", "rehearsal") is None
