"""What the Loki class pushes, reads and compares, as far as it is pure."""

from fixtures.services.http import HttpClient
from fixtures.services.loki import Loki, as_pushed, build_stream, canonical, selector_of
from tests.imitations.instance import spec_of

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


def test_a_push_holds_every_line_out_of_order(monkeypatch):
    bodies = []
    monkeypatch.setattr(HttpClient, "request_ok", lambda *_, json, **__: bodies.append(json))
    loki = Loki(spec_of("loki"), None)
    loki._push([STREAM])
    (pushed,) = bodies[0]["streams"]
    assert pushed["stream"] == STREAM["stream"]
    assert pushed["values"] != STREAM["values"] == sorted(pushed["values"], key=lambda row: row[0])


def test_no_two_lines_are_the_same_and_each_digit_of_a_nanosecond_counts():
    lines = [*STREAM["values"], *build_stream("g1", "history", 2, FIRST, 20)["values"]]
    assert len({(at, text) for at, text, _ in lines}) == 40
    assert len({int(at) % 1000 for at, _, _ in STREAM["values"]}) == 20


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
    first = [at, text, metadata]
    other = build_stream("g1", "history", 2, FIRST, 1)
    changed = [
        [{**STREAM, "stream": {**STREAM["stream"], "job": "other"}}],
        *(
            [{**STREAM, "values": lines}]
            for lines in (
                [second, *rest],
                [*STREAM["values"], first],
                [second, first, *rest],
                [[str(int(at) + 1), text, metadata], second, *rest],
                [[at, text + " ", metadata], second, *rest],
                [[at, text, {}], second, *rest],
            )
        ),
        [STREAM, other],
    ]
    assert len({canonical(streams) for streams in changed} | {VALUE}) == len(changed) + 1
    assert canonical([STREAM, other]) == canonical([other, STREAM])


def test_a_metric_is_summed_over_its_series_and_without_one_it_is_not_zero(monkeypatch):
    class Answer:
        text = '# TYPE a counter\na{type="x y"} 1\na{type="y"} 2\nab 5\nb 0\n\n'

    monkeypatch.setattr(HttpClient, "request_ok", lambda *_, **__: Answer)
    loki = Loki(spec_of("loki"), None)
    assert loki.read_metrics() == {"a": 3, "ab": 5, "b": 0}
