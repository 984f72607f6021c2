"""The drill `restore from the service's own export`, seen red for each of its verifications."""

import tarfile
from dataclasses import replace

import pytest

import drills.test_restore_from_native_export as runbook
import tests.sabotage.acts as acts
from fixtures.evidence.record import Verdict
from fixtures.services import grafana
from fixtures.services.prometheus import must_be_whole
from tests.sabotage.test_rebuild import wipe

WRONG, FAILED = Verdict.WRONG_DATA, Verdict.NOT_RECOVERED


def cut(service, backup):
    whole = backup.export.read_bytes()
    backup.export.write_bytes(whole[: len(whole) // 2])


def keep_blocks(export, keep):
    """Write the TSDB snapshot again, with these of its blocks alone."""
    with tarfile.open(export) as whole, tarfile.open(f"{export}.new", "w") as other:
        for entry in whole:
            if entry.name.removeprefix("./").split("/")[0] in {".", "", *keep}:
                other.addfile(entry, whole.extractfile(entry) if entry.isreg() else None)
    export.with_name(f"{export.name}.new").replace(export)


def leave_one_block_out(service, backup):
    _, *rest = must_be_whole(backup.export)
    assert rest, "one block is to be left"
    keep_blocks(backup.export, rest)


def change_dashboards(service, backup):
    """One is missing, another has another title."""
    held = grafana.read(backup.export)
    first, _, *rest = held.dashboards
    changed = {**first, "dashboard": {**first["dashboard"], "title": "renamed"}}
    other = replace(held, dashboards=[changed, *rest])
    assert grafana.write(other, backup.export.parent) == backup.export


def keep_no_block(service, backup):
    keep_blocks(backup.export, [])


ROWS = [
    ("prometheus", acts.instead("restart", wipe), WRONG, "canaries: lost: "),
    ("prometheus", cut, FAILED, " is cut: "),
    ("prometheus", leave_one_block_out, WRONG, "canaries: lost: "),
    ("prometheus", keep_no_block, FAILED, "holds no block"),
    ("grafana", change_dashboards, WRONG, "canaries: lost: ", "changed: ", " dashboard "),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1].__name__)
def test_another_export_than_was_made_is_named(spoiled, row):
    name, sabotage, verdict, *words = row
    record = spoiled(runbook.test_service_restored_from_its_own_export, name, "native", sabotage)
    acts.must_be(record, verdict, *words)
    if sabotage is leave_one_block_out:
        assert record.canaries.recovered, "the other block came back"
