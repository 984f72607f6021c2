"""The drill `restore from the service's own export`, seen red for each of its verifications."""

import tarfile
from dataclasses import replace

import drills.test_restore_from_native_export as runbook
import tests.sabotage.acts as acts
from fixtures.evidence.record import Verdict
from fixtures.services import grafana
from fixtures.services.prometheus import must_be_whole
from tests.sabotage.test_rebuild import wipe

body = runbook.test_service_restored_from_its_own_export


def test_what_does_not_outlive_the_restart_is_wrong_data(spoiled):
    drill = spoiled(body, "prometheus", "native", acts.instead("restart", wipe))
    assert drill.verdict is Verdict.WRONG_DATA
    assert "canaries: lost: " in drill.reason


def test_an_export_that_is_cut_is_not_recovered(spoiled):
    def sabotage(service, backup):
        whole = backup.export.read_bytes()
        backup.export.write_bytes(whole[: len(whole) // 2])

    drill = spoiled(body, "prometheus", "native", sabotage)
    assert drill.verdict is Verdict.NOT_RECOVERED
    assert " is cut: " in drill.reason


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


def test_an_export_that_lacks_one_dashboard_and_changed_another_is_wrong_data(spoiled):
    def sabotage(service, backup):
        held = grafana.read(backup.export)
        first, _, *rest = held.dashboards
        changed = {**first, "dashboard": {**first["dashboard"], "title": "renamed"}}
        other = replace(held, dashboards=[changed, *rest])
        assert grafana.write(other, backup.export.parent) == backup.export

    drill = spoiled(body, "grafana", "native", sabotage)
    assert drill.verdict is Verdict.WRONG_DATA
    assert all(f"canaries: {fault}" in drill.reason for fault in ("lost: ", "changed: "))
    assert " dashboard " in drill.reason
