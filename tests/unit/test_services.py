"""What service classes write, read and compare, and what they do with odd answers."""

from datetime import UTC, datetime

import pytest
import requests

from fixtures.clock import NotYet
from fixtures.errors import CouldNotLook
from fixtures.services import alertmanager, mosquitto
from fixtures.services.base import ServiceUnderTest
from fixtures.services.http import HttpClient
from fixtures.services.loki import Chunk, Loki, as_pushed, build_stream, canonical, selector_of
from fixtures.services.mosquitto import Mosquitto
from fixtures.services.registry import SERVICES
from fixtures.services.step_ca import StepCa, new_ca
from tests.imitations.instance import spec_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_every_kind_has_a_class_of_its_own():
    known = {"alertmanager", "atlantis", "grafana", "loki", "mosquitto", "prometheus", "step-ca"}
    assert set(SERVICES) == known | {"generic"}
    assert all(issubclass(each, ServiceUnderTest) for each in SERVICES.values())


def silence(**changes):
    silence = alertmanager.silences("g1", NOW)["maintenance"]
    state = {"id": "some", "updatedAt": "2026-11-23T12:00:00.000Z", "status": {"state": "active"}}
    return {**silence, **state, **changes}


def test_all_but_id_and_order_of_matchers_of_a_silence_has_a_meaning():
    matchers = silence()["matchers"]
    turned = silence(matchers=[dict(reversed(each.items())) for each in reversed(matchers)])
    assert alertmanager.canonical({**turned, "id": "other"}) == alertmanager.canonical(silence())
    changes = [
        {"comment": "other"},
        {"createdBy": "other"},
        {"endsAt": "2026-11-24T12:00:00.000Z"},
        {"startsAt": "2026-11-22T12:00:00.000Z"},
        {"status": {"state": "expired"}},
        {"updatedAt": "2026-11-23T12:00:01.000Z"},
        {"matchers": [{**matchers[0], "isEqual": False}, *matchers[1:]]},
        {"matchers": matchers[1:]},
    ]
    values = {alertmanager.canonical(silence(**change)) for change in changes}
    assert len(values | {alertmanager.canonical(silence())}) == len(changes) + 1


@pytest.mark.parametrize("kind", sorted(SERVICES.keys() - {"generic", "step-ca"}))
def test_a_card_says_that_what_is_not_on_the_volume_was_not_compared(kind):
    service = SERVICES[kind](spec_of(kind), None)
    of_configuration = [
        each for each in service.not_looked_at("tarball", "rehearsal") if "config" in each
    ]
    assert len(of_configuration) == 1 and "not on the volume" in of_configuration[0]
    assert service.not_looked_at("rebuild", "rehearsal") == []


BODIES = [b"<html>maintenance</html>", b"", b"[]", b"{}", b'"x"', b"7", b"[7]", b'{"data": 7}']
KINDS = sorted(SERVICES.keys() - {"generic", "mosquitto"})


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_of_another_form_is_no_traceback(monkeypatch, kind, body):
    answer = requests.Response()
    answer.status_code, answer._content = 200, body
    monkeypatch.setattr(HttpClient, "request", lambda *_, **__: answer)
    monkeypatch.setenv("ATLAS_DRILLS_GRAFANA_TOKEN", "x")
    service = SERVICES[kind](spec_of(kind), None)
    if isinstance(service, StepCa):
        service.trusted_root = new_ca("/home/step", "ca.test").root
    with pytest.raises(CouldNotLook):
        service.version()
    try:
        held = service.list_items(datetime.now(UTC))
    except CouldNotLook:
        return
    # An empty list is what some of them answer where they hold nothing.
    assert body in (b"[]", b"{}") and not sum(item.count for item in held)


FIRST = 1_795_447_887_364_086_439
STREAM = build_stream("g1", "history", 1, FIRST, 20)
VALUE = canonical([STREAM])


def answer(stream):
    """Return it as query_range answers it, with structured metadata separate from labels."""
    values = [[at, line, {"structuredMetadata": extra}] for at, line, extra in stream["values"]]
    return [{"stream": dict(reversed(stream["stream"].items())), "values": values}]


def test_what_was_pushed_is_equal_to_what_is_read():
    assert canonical(as_pushed(answer(STREAM))) == VALUE
    plain = [{"stream": {"a": "b"}, "values": [["1", "x"], ["2", "y", {}]]}]
    assert as_pushed(plain)[0]["values"] == [["1", "x", {}], ["2", "y", {}]]


def test_a_selector_is_of_one_stream_alone():
    others = [
        build_stream(generation, kind, part, FIRST, 1)
        for generation in ("g1", "g11", "later-1")
        for kind in ("history", "recent")
        for part in (1, 2)
    ]
    assert len({selector_of(stream) for stream in others}) == len(others)
    assert selector_of(STREAM) == '{canary="g1/history/1"}'


def test_every_part_of_a_stream_has_a_meaning():
    (at, text, metadata), second, *rest = STREAM["values"]
    first, other = [at, text, metadata], build_stream("g1", "history", 2, FIRST, 1)
    lines = [
        [second, *rest],
        [first, second, *rest, first],
        [second, first, *rest],
        [[str(int(at) + 1), text, metadata], second, *rest],
        [[at, text + " ", metadata], second, *rest],
        [[at, text, {}], second, *rest],
    ]
    changed = [[{**STREAM, "values": values}] for values in lines]
    changed += [[{**STREAM, "stream": {**STREAM["stream"], "job": "other"}}], [STREAM, other]]
    assert len({canonical(streams) for streams in changed} | {VALUE}) == len(changed) + 1
    assert canonical([STREAM, other]) == canonical([other, STREAM])


def test_a_metric_is_summed_over_its_series_and_without_one_it_is_not_zero(monkeypatch):
    class Answer:
        text = '# TYPE a counter\na{type="x y"} 1\na{type="y"} 2\nab 5\nb 0\n\n'

    monkeypatch.setattr(HttpClient, "request_ok", lambda *_, **__: Answer)
    loki = Loki(spec_of("loki"), None)
    assert loki.read_metrics() == {"a": 3, "ab": 5, "b": 0}


DATA_KINDS = sorted(SERVICES.keys() - {"generic", "mosquitto", "step-ca"})


@pytest.mark.parametrize(
    ("status", "text"),
    [(401, "Unauthorized"), (403, "no"), (400, "Client sent an HTTP request to an HTTPS server.")],
)
@pytest.mark.parametrize("kind", DATA_KINDS)
def test_a_service_that_wants_a_password_or_tls_is_not_called_unhealthy(
    monkeypatch, kind, status, text
):
    answer = requests.Response()
    answer.status_code, answer._content = status, text.encode()
    monkeypatch.setattr(HttpClient, "request", lambda *_, **__: answer)
    with pytest.raises(CouldNotLook, match=text) as error:
        SERVICES[kind](spec_of(kind), None).check_health()
    assert "kind: generic" in error.value.hint


@pytest.mark.parametrize("text", ["Not authorized", "Bad user name or password"])
def test_a_broker_that_wants_a_password_is_not_called_unhealthy(monkeypatch, text):
    def refuse(*_, **__):
        raise CouldNotLook(f"the broker refused the connection: {text}")

    monkeypatch.setattr(mosquitto, "Client", refuse)
    with pytest.raises(CouldNotLook, match=text):
        Mosquitto(spec_of("mosquitto"), None).check_health()


@pytest.mark.parametrize("kind", sorted(SERVICES.keys() - {"generic"}))
def test_a_service_is_asked_at_the_port_of_the_fleet_file(kind):
    class Instance:
        def dial(self, port):
            raise ConnectionRefusedError(f"nothing listens on {port}")

    spec = spec_of(kind)
    spec = spec.model_copy(update={"health": spec.health.model_copy(update={"port": 4711})})
    service = SERVICES[kind](spec, Instance())
    service.load_facts({"root fingerprint": "0" * 64})
    with pytest.raises(NotYet, match="nothing listens on 4711"):
        service.check_health()


def test_a_flush_is_awaited_of_the_lines_of_before_too(monkeypatch):
    """Else the chunk of these could come later, or its lines still be in the log as well."""
    steps = iter([({"a", "b"}, "{job=atlas-drills, canary=g1/recent/1}"), ({"a", "b", "c"}, "")])
    loki, now = Loki(spec_of("loki"), None), [set(), ""]

    def step(*_, **options):
        if "json" not in options:
            now[:] = next(steps)

    monkeypatch.setattr(HttpClient, "request_ok", step)
    monkeypatch.setattr(loki, "_chunk_files", lambda: now[0])
    monkeypatch.setattr(loki, "_is_in_log", lambda text: text in now[1])
    loki._push_to_chunks("g2")
    assert loki._chunks == {"a", "b", "c"}


def test_a_chunk_that_a_kill_left_without_index_is_no_loss(monkeypatch):
    there = {
        Chunk(1, 0, 100, 1): "named",
        Chunk(1, 10, 90, 2): "flushed again later",
        Chunk(2, 0, 9, 3): "of the last second",
        Chunk(1, 90, 101, 4): "half",
        Chunk(3, 0, 9, 5): "nowhere",
        Chunk(3, 0, 9, 6): "since the start",
    }
    written = (
        "1000.5 named\n10 flushed again later\n990.1 of the last second\n10 half\n10 nowhere\n"
    )
    monkeypatch.setattr("fixtures.services.loki.run_script", lambda *_, **__: written)
    loki = Loki(spec_of("loki"), None)
    assert loki._unnamed({Chunk(1, 0, 100, 1): 7}, there) == ["half", "nowhere"]
    assert len(loki._unnamed({}, there)) == 5
    written = "./markers/x\n" + written
    assert loki._unnamed({}, there) == []
