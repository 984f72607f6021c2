"""How long a proof counts: due, void and valid, with an injected clock."""

from datetime import UTC, datetime, timedelta

import pytest

from fixtures.audit.policy import promises
from fixtures.evidence.programme import (
    LAB,
    SPARE,
    State,
    of_place,
    places_of,
    standings,
    valid_until,
)
from fixtures.evidence.record import Verdict
from fixtures.evidence.writer import HistoryLine
from fixtures.fleet.load import load_fleet
from fixtures.plugin.options import DEFAULT_FLEET

ATLAS = load_fleet(DEFAULT_FLEET)
NOW = datetime(2026, 11, 29, 7, tzinfo=UTC)
CELL = ("prometheus", "snapshot", "rehearsal")


def entry_of(fleet, cell):
    (found,) = [p for p in promises(fleet) if (p.service, p.scenario, p.origin) == cell]
    return found


def line(days, cell=CELL, *, fleet=ATLAS, **changed):
    """A green drill of so many days ago, as the history keeps it."""
    service, scenario, origin = cell
    facts = {
        "run": f"r{days}",
        "begun": NOW - timedelta(days=days),
        "host": "h",
        "incus": "7.0.2",
        "target": "prod",
        "fleet": "atlas",
        "service": service,
        "scenario": scenario,
        "origin": origin,
        "verdict": Verdict.RECOVERED,
        "rto": 20.0,
        "rpo": 1.0,
        "target_rto": 900.0,
        "software": "Prometheus 2.53.3",
        "image_sha256": "1" * 64,
        "entry_sha256": entry_of(fleet, cell).entry_sha256,
    }
    return HistoryLine(**(facts | changed))


def stated(every="92d", retest="30d", fleet=ATLAS):
    """The fleet with a programme for snapshots and tarballs."""
    said = {"every": every, "retest": retest}
    data = fleet.model_dump() | {"programme": {"snapshot": said, "tarball": said}}
    return type(fleet).model_validate(data)


def standing(lines, cell=CELL, fleet=None, now=NOW):
    fleet = fleet or stated()
    (found,) = [s for s in standings(promises(fleet), lines, now) if s.cell == cell]
    return found


def test_a_year_ago_a_quarter_ago_and_today_with_another_prometheus():
    tarball, native = ("prometheus", "tarball", "rehearsal"), ("prometheus", "native", "rehearsal")
    loki = ("loki", "snapshot", "rehearsal")
    lines = [
        line(366, tarball),
        line(366, loki, software="Loki 3.1.0"),
        line(91),
        line(91, loki, software="Loki 3.1.0"),
        line(0, native, software="Prometheus 2.54.0"),
    ]
    found = {s.cell: s for s in standings(promises(stated()), lines, NOW)}
    assert found[tarball].state is State.VOID, "what is old may have changed as well"
    assert found[CELL].state is State.VOID
    assert "prometheus was Prometheus 2.53.3, and is Prometheus 2.54.0" in found[CELL].why
    assert found[native].state is State.VALID
    assert found[loki].state is State.VALID, "another service is none of its business"
    assert found[loki].until == NOW + timedelta(days=1)
    assert found["step-ca", "snapshot", "rehearsal"].state is State.NEVER
    without = {s.cell: s for s in standings(promises(stated()), lines[:-1], NOW)}
    assert without[tarball].state is State.OVERDUE
    assert without[CELL].state is State.VALID


def test_a_proof_counts_until_its_last_day_and_no_longer():
    for days, state in ((91, State.VALID), (92, State.VALID), (93, State.OVERDUE)):
        assert standing([line(days)]).state is state, days
    late = standing([line(93)])
    assert late.is_due and "28 Aug 2026" in late.why and "28 Nov 2026" in late.why


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"software": "Prometheus 3.0.0"}, "prometheus was Prometheus 2.53.3"),
        ({"image_sha256": "2" * 64}, "the image of prometheus is another"),
        ({"incus": "8.0.0"}, "Incus was 7.0.2, and is 8.0.0"),
    ],
)
def test_what_a_newer_drill_saw_voids(changed, why):
    newer = line(1, ("prometheus", "tarball", "existing"), **changed)
    assert why in standing([line(30), newer]).why
    assert standing([line(30), newer]).state is State.VOID
    assert standing([line(30)]).state is State.VALID
    again = [line(30), newer, line(0, **changed)]
    assert standing(again).state is State.VALID, "proven again as it is now"


@pytest.mark.parametrize(
    "changed",
    [
        {"software": "2.53.3"},
        {"software": None},
        {"image_sha256": None},
        {"incus": "7.0.9"},
        {"incus": None},
        {"is_older": True, "software": "Prometheus 2.50.0"},
        {"variant": "sample-1", "software": "Prometheus 2.50.0"},
    ],
)
def test_what_is_the_same_or_not_known_voids_nothing(changed):
    newer = line(1, ("prometheus", "tarball", "existing"), **changed)
    assert standing([line(30), newer]).state is State.VALID


def test_in_the_lab_files_of_others_say_nothing_of_its_own_software():
    rehearsed = line(30, target="lab")
    others = line(1, (*CELL[:2], "existing"), target="lab", software="Prometheus 2.40.0")
    assert standing([rehearsed, others]).state is State.VALID


def with_service(**changed):
    services = tuple(
        s.model_copy(update=changed) if s.name == "prometheus" else s for s in stated().services
    )
    return stated().model_copy(update={"services": services})


def test_another_entry_of_the_fleet_file_voids_its_own_cells_alone():
    volume = ATLAS.service("prometheus").volumes[0].model_copy(update={"size": "200GB"})
    changed = with_service(volumes=(volume,))
    loki = ("loki", "snapshot", "rehearsal")
    lines = [line(3), line(3, loki, software="Loki 3.1.0")]
    assert standing(lines, fleet=changed).state is State.VOID
    assert "the fleet file's entry of prometheus is another" in standing(lines, fleet=changed).why
    assert standing(lines, loki, changed).state is State.VALID


def test_what_is_no_part_of_a_proof_voids_nothing():
    backups = dict(ATLAS.service("prometheus").backups)
    backups["snapshot"] = backups["snapshot"].model_copy(update={"why": "for a reason"})
    del backups["tarball"]
    for changed in (
        {"backups": backups},
        {"provision": "copy"},
        {"criticality": "critical"},
        {"survives": {"site": "none"}},
    ):
        assert standing([line(3)], fleet=with_service(**changed)).state is State.VALID


def test_another_regime_of_its_own_backup_voids():
    backups = dict(ATLAS.service("prometheus").backups)
    backups["snapshot"] = backups["snapshot"].model_copy(update={"consistency": "stop"})
    assert standing([line(3)], fleet=with_service(backups=backups)).state is State.VOID


def test_a_lower_target_voids_what_took_longer():
    def aiming_at(seconds):
        target = ATLAS.targets["snapshot"].model_copy(update={"seconds": seconds})
        return stated().model_copy(update={"targets": {**ATLAS.targets, "snapshot": target}})

    assert standing([line(3)], fleet=aiming_at(20.0)).state is State.VALID
    late = standing([line(3)], fleet=aiming_at(19.0))
    assert "it took 20 s, and the target is now 19 s" in late.why


def test_a_changed_section_of_the_runbook_voids():
    found = {}
    for now in ("a" * 64, "b" * 64):
        (promise,) = [
            p for p in promises(stated(), {CELL: now}) if (p.service, p.scenario, p.origin) == CELL
        ]
        (found[now],) = standings([promise], [line(3, section_sha256="a" * 64)], NOW)
    assert [s.state for s in found.values()] == [State.VALID, State.VOID]
    assert "the runbook's section is another" in found["b" * 64].why
    assert standing([line(3, section_sha256="a" * 64)]).state is State.VALID, "none is performed"


RED = (Verdict.RECOVERED_LATE, Verdict.NOT_RECOVERED, Verdict.WRONG_DATA)


@pytest.mark.parametrize("verdict", RED)
def test_a_red_one_is_due_again_from_the_first_on(verdict):
    green, first, again = line(40), line(29, verdict=verdict), line(2, verdict=verdict)
    found = standing([green, first, again])
    assert (found.state, found.until) == (State.DUE, NOW + timedelta(days=1))
    assert f"{verdict} on 31 Oct 2026 (on prod, run r29)" in found.why
    later = standing([green, first, again], now=NOW + timedelta(days=2))
    assert later.state is State.OVERDUE, "a second red one buys no time"
    assert standing([green, first, line(1)]).state is State.VALID
    assert standing([first]).state is State.DUE, "never proven, but seen red"


def test_one_red_variant_makes_the_run_red():
    assert standing([line(3, run="r"), line(3, run="r", verdict=RED[1])]).state is State.DUE


def test_not_verified_says_nothing_good_or_bad():
    unsure = line(2, verdict=Verdict.NOT_VERIFIED)
    assert standing([unsure]).state is State.NEVER
    assert standing([line(40), unsure]).state is State.VALID
    assert standing([line(93), unsure]).state is State.OVERDUE


def test_an_older_backup_is_no_proof_of_the_newest_but_a_red_one_is_red():
    existing = ("prometheus", "snapshot", "existing")
    for older in ({"is_older": True}, {"variant": "sample-2"}):
        assert standing([line(3, existing, **older)], existing).state is State.NEVER
        red = line(3, existing, verdict=Verdict.WRONG_DATA, **older)
        assert standing([line(9, existing), red], existing).state is State.DUE


def test_a_line_of_the_future_proves_nothing():
    assert standing([line(-1)]).state is State.NEVER


def test_a_fleet_is_void_as_soon_as_one_of_its_services_is_another():
    whole = ("fleet", "full-rebuild", "rehearsal")
    drilled = line(10, whole, software=None)
    before, after = line(10), line(1, software="Prometheus 2.54.0")
    found = standing([before, drilled, after], whole)
    assert found.state is State.VOID and "prometheus was Prometheus 2.53.3" in found.why
    assert standing([before, drilled, line(1)], whole).state is State.VALID


def test_an_alarm_has_a_moment_for_each_proof():
    other = line(1, ("prometheus", "tarball", "rehearsal"), software="Prometheus 2.54.0")
    red = line(5, ("loki", "snapshot", "rehearsal"), verdict=Verdict.WRONG_DATA, software=None)
    lines, day = [line(10), other, red], timedelta(days=1)
    found = valid_until(promises(stated()), lines, NOW)
    assert found == {
        CELL: NOW - day,
        ("prometheus", "tarball", "rehearsal"): NOW + 91 * day,
        ("loki", "snapshot", "rehearsal"): NOW + 25 * day,
    }
    changed = with_service(depends_on=())
    lines = [line(10)]
    assert valid_until(promises(changed), lines, NOW) == {CELL: NOW}


EXISTING = ("prometheus", "snapshot", "existing")


def test_each_place_has_its_proofs_and_the_labs_own_backups_prove_nothing_else():
    lines = [
        line(1, target=LAB, run="rehearsed"),
        line(2, EXISTING, target=LAB, run="own"),
        line(3, EXISTING, target=LAB, is_of_others=True, run="spare"),
        line(4, EXISTING, run="prod"),
        line(5, EXISTING, target="staging", run="staging"),
        line(6, run="of another fleet").model_copy(update={"fleet": "x"}),
        line(7, run="older").model_copy(update={"fleet": None}),
    ]

    def runs(place):
        return {x.run for x in of_place(lines, "atlas", place)}

    assert runs(LAB) == {"rehearsed", "own"}
    assert runs(SPARE) == {"rehearsed", "spare"}
    assert runs("prod") == {"rehearsed", "spare", "prod", "older"}
    assert runs("staging") == {"rehearsed", "spare", "staging"}
    assert places_of(lines, "atlas") == ["prod", "staging"]
    assert places_of(lines[:3], "atlas") == [SPARE]
    assert places_of(lines[:2], "atlas") == [LAB]
    assert places_of([], "atlas") == []


def test_a_red_one_is_closed_where_it_was_red_and_one_proof_that_counts_is_enough():
    red = line(20, verdict=Verdict.WRONG_DATA)
    assert standing([red, line(3, target=LAB)]).state is State.DUE
    assert standing([red, line(3, target=LAB), line(2)]).state is State.VALID
    other = line(1, ("prometheus", "native", "rehearsal"), target=LAB, software="Prometheus 3.0.0")
    assert standing([line(30, target=LAB), other]).state is State.VOID
    assert standing([line(30, target=LAB), line(40), other]).state is State.VALID
    assert standing([line(40, incus="7.0.2"), line(3, target=LAB, incus="8.0.0")]).why is None


def test_intervals_are_by_criticality_unless_the_file_says_more():
    fleet = stated(every="20d", retest="5d")
    assert ATLAS.recurrence("critical", "tarball") == (92 * 86400, 30 * 86400)
    assert fleet.recurrence("low", "tarball") == (20 * 86400, 5 * 86400)
    assert fleet.recurrence("low", "native") == ATLAS.recurrence("low", "native")
    data = ATLAS.model_dump() | {"programme": {"native": {"every": "9d"}}}
    fleet = type(ATLAS).model_validate(data)
    assert fleet.recurrence("critical", "native") == (9 * 86400, 9 * 86400)
    of = {(p.service, p.scenario): p.every / 86400 for p in promises(ATLAS)}
    assert of["step-ca", "snapshot"] == of["fleet", "full-rebuild"] == 92
    assert of["atlas-terraform-state", "native"] == 92
    assert (of["grafana", "snapshot"], of["loki", "snapshot"]) == (182, 365)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("{snapshot: {every: never}}", "programme.snapshot.every: 'never' is no retention"),
        ("{snapshot: {every: 0d}}", "programme.snapshot.every: '0d' keeps nothing"),
        ("{snapshott: {every: 1d}}", "programme.snapshott: must be snapshot, "),
        ("{snapshot: {evry: 1d}}", "programme.snapshot.evry: is not a known key; did you mean eve"),
        (
            "{snapshot: {every: 9d, retest: 10d}}",
            "programme.snapshot.retest: '10d' is after the next proof of a critical service, which",
        ),
    ],
)
def test_a_wrong_programme_is_refused_in_words(tmp_path, said, error):
    file = tmp_path / "f.yaml"
    text = DEFAULT_FLEET.read_text()
    file.write_text(text.replace("services:\n", f"programme: {said}\nservices:\n", 1))
    with pytest.raises(Exception, match="nothing was contacted|f.yaml:") as caught:
        load_fleet(file)
    assert error in str(caught.value)
