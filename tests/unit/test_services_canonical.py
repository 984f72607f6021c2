"""What the service classes write and compare, as far as it is pure."""

from datetime import UTC, datetime

from fixtures.services import alertmanager
from fixtures.services.base import ServiceUnderTest
from fixtures.services.registry import SERVICES

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_every_kind_has_a_class_of_its_own():
    known = {"alertmanager", "atlantis", "grafana", "loki", "mosquitto", "prometheus", "step-ca"}
    assert set(SERVICES) == known | {"generic"}
    assert all(issubclass(each, ServiceUnderTest) for each in SERVICES.values())


def shown(**changes):
    silence = alertmanager.silences("g1", NOW)["maintenance"]
    state = {"id": "some", "updatedAt": "2026-11-23T12:00:00.000Z", "status": {"state": "active"}}
    return {**silence, **state, **changes}


def test_the_order_of_matchers_has_no_meaning():
    matchers = shown()["matchers"]
    assert isinstance(matchers, list)
    turned = shown(matchers=[dict(reversed(each.items())) for each in reversed(matchers)])
    assert alertmanager.canonical(turned) == alertmanager.canonical(shown())


def test_everything_else_of_a_silence_has_a_meaning():
    matchers = shown()["matchers"]
    assert isinstance(matchers, list)
    negated = [{**matchers[0], "isEqual": False}, *matchers[1:]]
    changes = [
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


def test_silences_use_every_kind_of_matcher():
    made = alertmanager.silences("g1", NOW).values()
    matchers = [matcher for silence in made for matcher in silence["matchers"]]
    kinds = {(matcher["isRegex"], matcher["isEqual"]) for matcher in matchers}
    assert kinds == {(False, True), (True, True), (False, False), (True, False)}
