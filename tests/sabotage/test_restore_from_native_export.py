"""The drill `restore from the service's own export`, seen red for each of its verifications."""

import tarfile
from dataclasses import replace

import pytest

import drills.test_restore_from_native_export as runbook
import tests.sabotage.acts as acts
from fixtures.evidence.record import Verdict
from fixtures.services import grafana
from fixtures.services.prometheus import must_be_whole
from tests.sabotage.test_rebuild import keep_the_old_data, wipe

NAMES = ["prometheus", "grafana"]
CUT = {"prometheus": " is cut: ", "grafana": "grafana-export.json.gz is damaged: "}

body = runbook.test_service_restored_from_its_own_export


def only_start(service, backup):
    """Start the empty service, and forget the export."""
    service.start_empty()
    service.wait_until_healthy()


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("grafana", acts.instead("import_native", only_start)),
        ("prometheus", acts.instead("restart", wipe)),
    ],
    ids=["forgotten import", "does not outlive the restart"],
)
def test_what_was_not_imported_for_good_is_wrong_data(spoiled, name, act):
    drill = spoiled(body, name, "native", act)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "canaries: lost: " in drill.reason


@pytest.mark.parametrize("name", NAMES)
def test_an_export_that_is_cut_is_not_recovered(spoiled, name):
    def sabotage(service, backup):
        whole = backup.export.read_bytes()
        backup.export.write_bytes(whole[: len(whole) // 2])

    drill = spoiled(body, name, "native", sabotage)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert CUT[name] in drill.reason


def keep_blocks(export, keep):
    """Write the TSDB snapshot again, with these of its blocks alone."""
    with tarfile.open(export) as whole, tarfile.open(f"{export}.new", "w") as other:
        for entry in whole:
            if entry.name.removeprefix("./").split("/")[0] in {".", "", *keep}:
                other.addfile(entry, whole.extractfile(entry) if entry.isreg() else None)
    export.with_name(f"{export.name}.new").replace(export)


def test_an_export_without_one_of_its_blocks_is_wrong_data(spoiled):
    def sabotage(service, backup):
        _, *rest = must_be_whole(backup.export)
        assert rest, "one block is to be left"
        keep_blocks(backup.export, rest)

    drill = spoiled(body, "prometheus", "native", sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "canaries: lost: " in drill.reason
    assert drill.canaries.recovered, "the other block came back"


def test_an_export_of_nothing_is_not_recovered(spoiled):
    drill = spoiled(body, "prometheus", "native", lambda _, backup: keep_blocks(backup.export, []))
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert "holds no block" in drill.reason


def rename_and_drop(dashboards):
    first, _, *rest = dashboards
    return [{**first, "dashboard": {**first["dashboard"], "title": "renamed"}}, *rest]


@pytest.mark.parametrize(
    ("change", "found"),
    [(rename_and_drop, ("lost: ", "changed: ")), (lambda dashboards: [], ("lost: ",))],
    ids=["one missing and one changed", "none"],
)
def test_an_export_that_lacks_or_changed_dashboards_is_wrong_data(spoiled, change, found):
    def sabotage(service, backup):
        held = grafana.read(backup.export)
        other = replace(held, dashboards=change(held.dashboards))
        assert grafana.write(other, backup.export.parent) == backup.export

    drill = spoiled(body, "grafana", "native", sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert all(f"canaries: {fault}" in drill.reason for fault in found)
    assert " dashboard " in drill.reason


def test_a_server_that_was_not_empty_is_wrong_data(spoiled):
    drill = spoiled(body, "grafana", "native", keep_the_old_data)
    assert drill.verdict is Verdict.WRONG_DATA
    assert "refuses the administrator whom it knew before the loss" in drill.reason
