"""What kinds of tarball cost: only recoveries compare, and the fleet file's kind is judged."""

from __future__ import annotations

from typing import Any

from fixtures.evidence.kinds import KindsTable, kinds_tables
from fixtures.evidence.record import BackupRecord, DrillRecord, RestoreRecord
from fixtures.evidence.verdict import Verdict
from tests.unit.test_evidence_judge import BEGUN, drill, run

MIB = 2**20


def of_kind(name: str, restore: float, *, chosen: bool = False, **changed: Any) -> DrillRecord:
    """A passing drill of one kind of tarball: 16 MiB in 2 s, a file of 4 MiB."""
    made = BackupRecord(
        kind="tarball",
        name=f"x.{name}",
        taken_at=BEGUN,
        seconds=2.0,
        downtime=changed.pop("downtime", 3.0),
        file_bytes=changed.pop("file_bytes", 4 * MIB),
        content_bytes=16 * MIB,
        is_fleet_kind=chosen,
    )
    put = RestoreRecord(bytes=16 * MIB, seconds=restore, throughput=16 * MIB / restore)
    about = {"scenario": "tarball", "variant": name, "backup": made, "restore": put, **changed}
    return drill(id=f"prometheus-tarball-rehearsal-{name}", service="prometheus", **about)


def table(*drills: DrillRecord) -> KindsTable:
    """The only table of these drills."""
    (found,) = kinds_tables(run(drills=list(drills)))
    return found


def test_the_fastest_restore_is_first_and_marked() -> None:
    rows = table(of_kind("gzip", 2.0), of_kind("none", 0.5), of_kind("zstd", 1.0)).rows
    assert [(row.name, row.is_fastest) for row in rows] == [
        ("none", True),
        ("zstd", False),
        ("gzip", False),
    ]
    assert (rows[0].export_rate, rows[0].ratio) == (8 * MIB, 0.25)


def test_a_kind_that_brought_wrong_data_is_never_the_fastest() -> None:
    wrong = of_kind("none", 0.1, verdict=Verdict.WRONG_DATA)
    rows = table(wrong, of_kind("zstd", 1.0)).rows
    assert [(row.name, row.is_fastest) for row in rows] == [("zstd", True), ("none", False)]
    assert rows[1].restore_seconds is None


def test_the_sentence_compares_the_fleet_s_kind_with_the_fastest() -> None:
    chosen = of_kind("zstd", 1.5, chosen=True)
    fastest = of_kind("none", 0.5, downtime=5.0, file_bytes=16 * MIB)
    assert table(fastest, chosen).sentence == (
        "The fleet file orders zstd: restored in 1.50 s, 1 s more than none, the fastest "
        "(0.50 s); its export stops the service 2 s less; its file is 4.0 MiB instead of 16.0 MiB."
    )


def test_noise_is_no_difference() -> None:
    chosen = of_kind("zstd", 0.38, chosen=True, downtime=3.1, file_bytes=8 * MIB)
    assert table(of_kind("none", 0.19, file_bytes=16 * MIB), chosen).sentence == (
        "The fleet file orders zstd: restored in 0.38 s, too close to none, the fastest (0.19 s), "
        "to tell them apart; its file is 8.0 MiB instead of 16.0 MiB."
    )


def test_the_other_sentences() -> None:
    chosen = of_kind("zstd", 1.0, chosen=True)
    assert table(of_kind("gzip", 2.0), chosen).sentence == (
        "The fleet file orders zstd, which was restored fastest of all: 1 s."
    )
    assert "is not among those" in table(of_kind("gzip", 2.0), of_kind("xz", 3.0)).sentence
    failed = of_kind("zstd", 1.0, chosen=True, verdict=Verdict.NOT_RECOVERED)
    assert "orders zstd, which did not recover" in table(of_kind("gzip", 2.0), failed).sentence
    broken = of_kind("gzip", 2.0, verdict=Verdict.NOT_RECOVERED)
    assert table(broken, failed).sentence == "No kind was restored: nothing can be compared."


def test_a_drill_that_failed_before_its_backup_has_a_row() -> None:
    bare = of_kind("xz", 1.0).model_copy(
        update={"backup": None, "restore": None, "rto": None, "verdict": Verdict.NOT_VERIFIED}
    )
    row = table(of_kind("zstd", 1.0), bare).rows[1]
    assert (row.name, row.export_rate, row.ratio, row.restore_seconds) == ("xz", None, None, None)


def test_other_ways_of_a_scenario_are_no_kinds() -> None:
    ways = [of_kind("new-volume", 1.0), of_kind("command", 1.0), drill(scenario="tarball")]
    assert kinds_tables(run(drills=[*ways, of_kind("zstd", 1.0)])) == []


def test_each_kind_that_recovered_tells_the_rto_that_it_would_give() -> None:
    def projected(name: str, seconds: float, **changed: Any) -> DrillRecord:
        made = of_kind(name, 1.0, **changed)
        put = made.restore.model_copy(
            update={"projected_rto": seconds, "declared_bytes": 100 * 10**9}
        )
        return made.model_copy(update={"restore": put})

    found = table(
        projected("none", 300.0),
        projected("zstd", 200.0),
        projected("gzip", 5.0, verdict=Verdict.WRONG_DATA),
        of_kind("xz", 4.0),
    )
    assert found.declared_bytes == 100 * 10**9
    assert {row.name: row.projected_rto for row in found.rows} == {
        "none": 300.0,
        "zstd": 200.0,
        "gzip": None,
        "xz": None,
    }
