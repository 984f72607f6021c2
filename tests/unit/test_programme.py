"""How long a proof counts: due, void and valid, with an injected clock."""

from datetime import UTC, datetime, timedelta

import pytest

from fixtures.audit.policy import promises
from fixtures.errors import UsageError
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
    facts = {"run": f"r{days}", "begun": NOW - timedelta(days=days), "host": "h", "incus": "7.0.2"}
    facts |= {"target": "prod", "fleet": "atlas", "verdict": Verdict.RECOVERED}
    facts |= {"service": service, "scenario": scenario, "origin": origin}
    facts |= {"rto": 20.0, "rpo": 1.0, "target_rto": 900.0, "software": "Prometheus 2.53.3"}
    facts |= {"image_sha256": "1" * 64, "entry_sha256": entry_of(fleet, cell).entry_sha256}
    return HistoryLine(**(facts | changed))


def stated(every="92d", retest="30d", fleet=ATLAS):
    """The fleet with a programme for snapshots and tarballs."""
    said = {"every": every, "retest": retest}
    data = fleet.model_dump() | {"programme": {"snapshot": said, "tarball": said}}
    return type(fleet).model_validate(data)


def standing(lines, cell=CELL, fleet=None, now=NOW, sections=None):
    promised = promises(fleet or stated(), sections)
    (found,) = [s for s in standings(promised, lines, now) if s.place == cell]
    return found


def with_service(**changed):
    services = [
        s.model_copy(update=changed) if s.name == "prometheus" else s for s in stated().services
    ]
    return stated().model_copy(update={"services": tuple(services)})


def regime_with(kind="snapshot", **changed):
    backups = dict(ATLAS.service("prometheus").backups)
    backups[kind] = backups[kind].model_copy(update=changed)
    return with_service(backups=backups)


def aiming_at(seconds):
    target = ATLAS.targets["snapshot"].model_copy(update={"seconds": seconds})
    return stated().model_copy(update={"targets": {**ATLAS.targets, "snapshot": target}})


def test_a_proof_may_count_beyond_all_dates():
    """`every: 999999y` is a fleet file's way to say for ever."""
    fleet = stated(every="999999y")
    found = standing([line(3, fleet=fleet)], fleet=fleet)
    assert (found.state, found.until.year) == (State.VALID, 9999)


TARBALL, EXISTING = ("prometheus", "tarball", "rehearsal"), ("prometheus", "snapshot", "existing")
LOKI, WHOLE = ("loki", "snapshot", "rehearsal"), ("fleet", "full-rebuild", "rehearsal")
RED = (Verdict.RECOVERED_LATE, Verdict.NOT_RECOVERED, Verdict.WRONG_DATA)


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
        # What is the same or not known voids nothing.
        ({}, None),
        ({"software": "2.53.3"}, None),
        ({"software": None}, None),
        ({"image_sha256": None}, None),
        ({"incus": "7.0.9"}, None),
        ({"incus": None}, None),
        ({"is_older": True, "software": "Prometheus 2.50.0"}, None),
        ({"variant": "sample-1", "software": "Prometheus 2.50.0"}, None),
    ],
)
def test_what_a_newer_drill_saw_voids_until_it_is_proven_again(changed, why):
    newer = line(1, ("prometheus", "tarball", "existing"), **changed)
    found = standing([line(30), newer])
    assert found.state is (State.VOID if why else State.VALID)
    assert (why or "") in (found.why or "")
    assert standing([line(30), newer, line(0, **changed)]).state is State.VALID


def test_in_the_lab_files_of_others_say_nothing_of_its_own_software():
    others = line(1, EXISTING, target="lab", software="Prometheus 2.40.0")
    assert standing([line(30, target="lab"), others]).state is State.VALID


VOLUME = ATLAS.service("prometheus").volumes[0].model_copy(update={"size": "200GB"})


@pytest.mark.parametrize(
    ("fleet", "why"),
    [
        (with_service(volumes=(VOLUME,)), "the fleet file's entry of prometheus is another"),
        (regime_with(consistency="stop"), "entry of prometheus"),
        (aiming_at(19.0), "it took 20 s, and the target is now 19 s"),
        # What is no part of the proof voids nothing.
        (aiming_at(20.0), None),
        (regime_with(why="for a reason"), None),
        (regime_with("tarball", consistency="stop"), None),
        (with_service(provision="copy"), None),
        (with_service(criticality="critical"), None),
        (with_service(survives={"site": "none"}), None),
    ],
)
def test_another_entry_of_the_fleet_file_voids_its_own_cells_alone(fleet, why):
    lines = [line(3), line(3, LOKI, software="Loki 3.1.0")]
    found = standing(lines, fleet=fleet)
    assert found.state is (State.VOID if why else State.VALID)
    assert (why or "") in (found.why or "")
    assert "target" in (why or "") or standing(lines, LOKI, fleet).state is State.VALID


def test_a_changed_section_of_the_runbook_voids():
    lines = [line(3, section_sha256="a" * 64)]
    assert standing(lines, sections={CELL: "a" * 64}).state is State.VALID
    assert standing(lines).state is State.VALID, "none is performed"
    found = standing(lines, sections={CELL: "b" * 64})
    assert found.state is State.VOID and "the runbook's section is another" in found.why


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
    one_variant = [line(3, run="r"), line(3, run="r", verdict=verdict)]
    assert standing(one_variant).state is State.DUE


FUTURE_RED = line(-1, verdict=RED[2])
UNSURE, BEFORE, IN_LAB = line(2, verdict=Verdict.NOT_VERIFIED), line(10), line(3, target=LAB)
RED_BEFORE, WHOLE_BEFORE = line(20, verdict=RED[2]), line(10, WHOLE, software=None)
OTHER = line(1, ("prometheus", "native", "rehearsal"), target=LAB, software="Prometheus 3.0.0")
NEWER_INCUS = line(3, target=LAB, incus="8.0.0")
OLDER = [{"is_older": True}, {"variant": "sample-2"}]
"""A drill of an older backup than the newest."""


@pytest.mark.parametrize(
    ("lines", "cell", "state"),
    [
        # Not verified says nothing good or bad, a line of the future proves nothing; a red one is
        # red until a line behind it is green.
        ([UNSURE], CELL, State.NEVER),
        ([line(40), UNSURE], CELL, State.VALID),
        ([line(93), UNSURE], CELL, State.OVERDUE),
        ([line(-1)], CELL, State.NEVER),
        ([line(3), line(-1)], CELL, State.VALID),
        *(([*before, FUTURE_RED], CELL, State.DUE) for before in ([], [line(3)], [line(-2)])),
        *(([*before, FUTURE_RED, line(2)], CELL, State.VALID) for before in ([], [line(3)])),
        ([line(40), FUTURE_RED, line(1, target=LAB)], CELL, State.OVERDUE),
        # What is overdue may have changed as well.
        ([line(366, TARBALL)], TARBALL, State.OVERDUE),
        ([line(366, TARBALL), line(0, software="Prometheus 2.54.0")], TARBALL, State.VOID),
        # A fleet is void as soon as one of its services is another.
        ([BEFORE, WHOLE_BEFORE, line(1)], WHOLE, State.VALID),
        ([BEFORE, WHOLE_BEFORE, line(1, software="Prometheus 2.54.0")], WHOLE, State.VOID),
        # A red one is closed where it was red, and one proof that counts is enough.
        ([RED_BEFORE, IN_LAB], CELL, State.DUE),
        ([RED_BEFORE, IN_LAB, line(2)], CELL, State.VALID),
        ([line(30, target=LAB), OTHER], CELL, State.VOID),
        ([line(30, target=LAB), line(40), OTHER], CELL, State.VALID),
        ([line(40), NEWER_INCUS], CELL, State.VALID),
        # An older backup is no proof of the newest, but a red one is red.
        *(([line(3, EXISTING, **older)], EXISTING, State.NEVER) for older in OLDER),
        *(
            ([line(9, EXISTING), line(3, EXISTING, verdict=RED[2], **older)], EXISTING, State.DUE)
            for older in OLDER
        ),
    ],
)
def test_which_line_counts(lines, cell, state):
    assert standing(lines, cell).state is state


def test_an_alarm_has_a_moment_for_each_proof():
    other = line(1, TARBALL, software="Prometheus 2.54.0")
    red = line(5, LOKI, verdict=Verdict.WRONG_DATA, software=None)
    day = timedelta(days=1)
    found = valid_until(promises(stated()), [line(10), other, red], NOW)
    assert found == {CELL: NOW - day, TARBALL: NOW + 91 * day, LOKI: NOW + 25 * day}
    changed = with_service(depends_on=())
    assert valid_until(promises(changed), [line(10)], NOW) == {CELL: NOW}


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
    with pytest.raises(UsageError) as caught:
        load_fleet(file)
    assert error in str(caught.value)
