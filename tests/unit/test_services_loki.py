"""What the Loki class pushes, reads and compares, as far as it is pure."""

from __future__ import annotations

import json
from dataclasses import replace

from fixtures.services.loki import Stream, canonical, counted, made, parsed

FIRST = 1_795_447_887_364_086_439
STREAM = made("g1", "history", 1, FIRST, 20)
VALUE = canonical([(STREAM.labels, STREAM.lines)])


def answer(stream: Stream) -> list[dict[str, object]]:
    """As query_range answers it, with structured metadata apart from labels."""
    values = [
        [str(line.at), line.text, {"structuredMetadata": dict(line.metadata)}]
        for line in stream.lines
    ]
    return [{"stream": dict(reversed(stream.labels.items())), "values": values}]


def test_what_was_pushed_is_equal_to_what_is_read() -> None:
    assert canonical(parsed(answer(STREAM))) == VALUE


def test_a_push_holds_every_line_out_of_order() -> None:
    values = STREAM.pushed()["values"]
    times = [int(at) for at, _, _ in values]
    assert times != sorted(times)
    assert sorted(times) == [line.at for line in STREAM.lines]
    assert {text for _, text, _ in values} == {line.text for line in STREAM.lines}
    assert json.loads(json.dumps(STREAM.pushed())) == STREAM.pushed()


def test_no_two_lines_are_the_same() -> None:
    both = [*STREAM.lines, *made("g1", "history", 2, FIRST, 20).lines]
    assert len({(line.at, line.text) for line in both}) == 40
    assert len({line.at % 1000 for line in STREAM.lines}) == 20, "each digit of a nanosecond counts"


def test_a_selector_is_of_one_stream_alone() -> None:
    others = [
        made(generation, kind, part, FIRST, 1)
        for generation in ("g1", "g11", "later-1")
        for kind in ("history", "recent")
        for part in (1, 2)
    ]
    assert len({one.selector for one in others}) == len(others)
    assert STREAM.selector == '{canary="g1/history/1"}'


def test_every_part_of_a_stream_has_a_meaning() -> None:
    first, second, *rest = STREAM.lines
    labels = {**STREAM.labels, "job": "other"}
    turned = [second, first, *rest]
    changed = [
        (labels, list(STREAM.lines)),
        (STREAM.labels, [second, *rest]),
        (STREAM.labels, [*STREAM.lines, first]),
        (STREAM.labels, turned),
        (STREAM.labels, [replace(first, at=first.at + 1), second, *rest]),
        (STREAM.labels, [replace(first, text=first.text + " "), second, *rest]),
        (STREAM.labels, [replace(first, metadata={}), second, *rest]),
    ]
    values = {canonical([one]) for one in changed}
    assert len(values | {VALUE}) == len(changed) + 1


def test_a_second_stream_is_seen_whatever_its_place() -> None:
    other = made("g1", "history", 2, FIRST, 1)
    two = [(STREAM.labels, STREAM.lines), (other.labels, other.lines)]
    assert canonical(two) == canonical(reversed(two)) != VALUE


def test_a_line_without_metadata_is_read() -> None:
    plain = [{"stream": {"a": "b"}, "values": [["1", "x"], ["2", "y", {}]]}]
    (labels, lines), *rest = parsed(plain)
    assert (labels, [(line.at, line.text, line.metadata) for line in lines], rest) == (
        {"a": "b"},
        [(1, "x", {}), (2, "y", {})],
        [],
    )


def test_a_metric_without_a_series_is_not_zero() -> None:
    text = '# TYPE a counter\na{type="x"} 1\na{type="y"} 2\nab 5\nb 0\n'
    assert (counted(text, "a"), counted(text, "b"), counted(text, "c")) == (3, 0, None)
