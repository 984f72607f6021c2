"""What the service classes write and compare, as far as it is pure."""

from __future__ import annotations

from datetime import UTC, datetime

from fixtures.services import alertmanager, prometheus
from fixtures.services.base import ServiceUnderTest
from fixtures.services.registry import SERVICES

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_every_kind_has_a_class_of_its_own() -> None:
    known = {"alertmanager", "atlantis", "grafana", "loki", "mosquitto", "prometheus", "step-ca"}
    assert set(SERVICES) == known | {"generic"}
    assert all(issubclass(one, ServiceUnderTest) for one in SERVICES.values())


def shown(**changes: object) -> dict[str, object]:
    silence = alertmanager.silences("g1", NOW)["maintenance"]
    state = {"id": "some", "updatedAt": "2026-11-23T12:00:00.000Z", "status": {"state": "active"}}
    return {**silence, **state, **changes}


def test_the_order_of_matchers_has_no_meaning() -> None:
    matchers = shown()["matchers"]
    assert isinstance(matchers, list)
    turned = shown(matchers=[dict(reversed(one.items())) for one in reversed(matchers)])
    assert alertmanager.canonical(turned) == alertmanager.canonical(shown())


def test_everything_else_of_a_silence_has_a_meaning() -> None:
    matchers = shown()["matchers"]
    assert isinstance(matchers, list)
    negated = [{**matchers[0], "isEqual": False}, *matchers[1:]]
    changes: list[dict[str, object]] = [
        {"comment": "other"},
        {"createdBy": "other"},
        {"endsAt": "2026-11-24T12:00:00.000Z"},
        {"startsAt": "2026-11-22T12:00:00.000Z"},
        {"status": {"state": "expired"}},
        {"updatedAt": "2026-11-23T12:00:01.000Z"},
        {"matchers": negated},
        {"matchers": matchers[1:]},
    ]
    values = {alertmanager.canonical(shown(**change)) for change in changes}
    assert len(values | {alertmanager.canonical(shown())}) == len(changes) + 1


def test_silences_use_every_kind_of_matcher() -> None:
    made = alertmanager.silences("g1", NOW).values()
    kinds = {(one["isRegex"], one["isEqual"]) for silence in made for one in silence["matchers"]}
    assert kinds == {(False, True), (True, True), (False, False), (True, False)}


def test_no_two_samples_have_one_value() -> None:
    series = [
        prometheus.made(generation, "m", part, 0, prometheus.HISTORY)
        for generation in ("generation-12", "generation-21", "later")
        for part in (1, 2)
    ]
    values = [value for one in series for _, value in one.samples]
    assert len(set(values)) == len(values) == 600


def test_a_sample_keeps_all_its_digits_and_milliseconds() -> None:
    assert prometheus.canonical([(1500, 0.1), (2001, 1 / 3)]) == (
        "1.500=0.1 2.001=0.3333333333333333"
    )


def test_openmetrics_text_ends_as_the_format_wants() -> None:
    series = prometheus.made("g1", "m", 1, 60, (60, 2))
    seed, text = series.samples[0][1], prometheus.openmetrics([series]).decode()
    assert text.splitlines() == [
        "# TYPE m gauge",
        f'm{{generation="g1",job="atlas-drills",part="1"}} {seed!r} 60.000',
        f'm{{generation="g1",job="atlas-drills",part="1"}} {series.samples[1][1]!r} 120.000',
        "# EOF",
    ]


def test_a_history_fits_into_one_block() -> None:
    interval, count = prometheus.HISTORY
    assert 300 + interval * count < prometheus.BLOCK_SECONDS
