"""Notes: what a source held, and what a backup between two of them has to hold."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from fixtures.errors import CouldNotLook
from fixtures.recovery.checks import Checks, check_known
from fixtures.recovery.drill import Drill
from fixtures.services.base import Item, each
from fixtures.services.note import (
    Note,
    NoteFile,
    ServiceNote,
    as_items,
    as_sorts,
    expected_at,
    find_losses,
    find_notes,
    read_note,
    read_service,
    write_note,
)

T0 = datetime(2026, 11, 28, 2, 0, tzinfo=UTC)
TAKEN = T0 + timedelta(minutes=1)
T1 = T0 + timedelta(minutes=2)


def note(at, holds, **more):
    known = ServiceNote(holds=as_sorts(holds), **more)
    return NoteFile(Path(f"observed-{at:%H%M}.yaml"), Note(note=1, at=at, services={"mq": known}))


def topics(**values):
    return each("topics", values)


def rows(number):
    return [Item("rows", "of the last hour", str(number), number)]


def judge(notes, found):
    """The faults of a service that holds `found`, restored after these notes, and the unlooked."""
    restored = SimpleNamespace(passing_items=(), list_items=lambda at: found)
    checks = Checks(Drill("x", "tarball", 900, "drill-x", "low", origin="existing"))
    check_known(checks, restored, expected_at("mq", TAKEN, notes), "what the source held")
    return checks.broken, checks.unlooked


def test_a_note_is_read_as_it_was_written(tmp_path):
    held = [*topics(a="1"), Item("silences", "s", "v", 1, T1), Item("lines", "h", "7", 7)]
    whole = note(T0, held, software="mq 1", newest=T0, facts={"f": "x"}, not_read=["why"]).note
    written = write_note(whole).encode()
    assert read_note(written) == read_note(written.removesuffix(b"\n")) == whole
    for end in range(written.index(b"note:"), len(written) - 3):
        with pytest.raises(ValueError, match="it is cut"):
            read_note(written[:end])
    assert as_items(whole.services["mq"].holds) == tuple(held)
    (tmp_path / "n.yaml").write_text(write_note(whole))
    (tmp_path / "fleet.yaml").write_text("name: atlas\n")
    (tmp_path / "bad.yaml").write_text("note: 1\nat: yesterday\n")
    (tmp_path / "newer.yml").write_text("note: 2\nat: 2026-11-28T02:00:00Z\nservices: {}\n")
    found, (bad, newer) = find_notes(sorted(tmp_path.iterdir()))
    assert [file.note for file in found] == [whole]
    assert "bad.yaml cannot be read: at:" in bad and "newer.yml cannot be read: note:" in newer


@pytest.mark.parametrize(
    "text",
    [
        *(b"note: [", b"note: 1", b"\xff", b"[" * 100_000, b"- " * 100_000, b"a: !!bool b"),
        b"note: 1\nat: 1\nservices: 3",
        2 * b"note: 1\nat: 2026-11-28T02:00:00Z\nservices: {}\n",
    ],
)
def test_what_is_no_note_is_an_error(text):
    with pytest.raises(ValueError, match=r"."):
        read_note(text)


@pytest.mark.parametrize(
    "held, why",
    [
        *((number, f"YAML reads {number} as") for number in ("0353", "3_53", "5:53", "0x161")),
        *((held, "holds.topics: is neither a whole") for held in ("'353'", "-1", "", "{1: a}")),
    ],
)
def test_a_number_is_read_as_people_read_it(held, why):
    text = f"note: 1\nat: 2026-11-28T02:00:00Z\nservices: {{mq: {{holds: {{topics: {held}}}}}}}\n"
    with pytest.raises(ValueError, match=why):
        read_note(text.encode())


@pytest.mark.parametrize(
    "text, is_one",
    [
        ("\ufeff# mine\nnote: 1\n", True),
        ('{"note": 1, "services": {}}', True),
        ('{\n  "at": "x",\n  "note": 1}', True),
        ('"note": 2\n', True),
        ("release:\n  note: 1\nnotes: x\n", False),
    ],
)
def test_a_note_is_known_by_its_head_however_it_was_written(tmp_path, text, is_one):
    (tmp_path / "n.yaml").write_text(text)
    _, faults = find_notes(tmp_path.iterdir())
    assert len(faults) == is_one


WITHIN = note(TAKEN + timedelta(milliseconds=600), topics(a="1"))


@pytest.mark.parametrize(
    ("notes", "taken", "counts"),
    [
        ([], TAKEN, False),
        ([note(T1, topics(a="1"))], TAKEN, False),
        ([note(T0, [])], TAKEN, False),
        # An archive has its time in whole seconds: a note of the same second was before it.
        ([WITHIN], TAKEN, True),
        ([WITHIN], TAKEN + timedelta(milliseconds=1), False),
    ],
)
def test_only_a_note_from_before_the_backup_counts(notes, taken, counts):
    assert (expected_at("mq", taken, notes) is not None) == counts
    assert expected_at("other", taken, notes) is None


TEXT = b"note: 1\nat: %s\nservices: {mq: {holds: {topics: 2}}}\n"


def by_hand(number):
    text = TEXT.replace(b"2}", b"%d}" % number)
    times = [f"{at:%Y-%m-%dT%H:%M:%SZ}".encode() for at in (T0, T1)]
    return [NoteFile(Path("mine.yaml"), read_note(text % at)) for at in times]


BY_HAND, NOTHING = by_hand(2), by_hand(0)
A, AB = topics(a="1"), topics(a="1", b="2")
MOVED = [note(T0, rows(10)), note(T1, rows(20))]
ENDING = [Item("silences", "s", "v", until=T0 + timedelta(seconds=90)), Item("silences", "t", "")]
TIMED = note(T0, rows(100), newest=T0)
AGAIN = note(T1, rows(90), newest=T1, again={"at": T0, "holds": as_sorts(rows(101))})


def two(before, after):
    return [note(T0, before), note(T1, after)]


@pytest.mark.parametrize(
    ("notes", "found", "broken", "unlooked"),
    [
        (two(AB, AB), AB, None, None),
        (two(AB, AB), A, "lost: topics: b", None),
        (two(A, A), topics(a="1", c="3"), "there, and the source had it not: topics: c", None),
        # What moved may have any value between.
        (two(topics(a="1", b="x"), topics(a="2", b="x")), topics(a="9", b="x"), None, None),
        # A broker that lost messages at the stop for its backup; or they were deleted after it.
        (
            two(AB, A),
            A,
            "lost: topics: b (there before the backup, and gone at the source after it)",
            None,
        ),
        (two(AB, A), AB, None, None),
        # What came during the backup may be there.
        (two(A, AB), A, None, None),
        (two(A, AB), topics(a="1", b="7"), None, None),
        # A number lies between.
        *((MOVED, rows(number), None, None) for number in (10, 15, 20)),
        *((MOVED, rows(number), "changed: rows: of the last hour", None) for number in (9, 21)),
        # What was to end by itself is not missed.
        (two(ENDING, ENDING[1:]), ENDING[1:], None, None),
        # What held nothing, or nothing that is still to be there, proves nothing.
        ([note(T0, ENDING[:1], newest=T0)], [], None, "that is no proof"),
        (NOTHING, [], None, "that is no proof"),
        # Data with a time is compared as of the first note.
        *(([TIMED, AGAIN], rows(number), None, None) for number in (100, 101)),
        ([TIMED, AGAIN], rows(99), "changed: rows: of the last hour", None),
        # Without that reading only more than was there can be late.
        ([TIMED], rows(99), "changed: rows: of the last hour", None),
        ([TIMED], rows(101), None, "some came later"),
        # One note alone cannot tell a change from a loss.
        ([note(T0, AB)], AB, None, None),
        ([note(T0, AB)], A, None, "changed between the reading and the backup, or wrong in it"),
        # A note by hand has numbers; two of them are exact.
        (BY_HAND[:1], AB, None, None),
        (BY_HAND[:1], A, None, "topics: number"),
        (BY_HAND, A, "changed: topics: number", None),
    ],
)
def test_what_a_backup_has_to_hold(notes, found, broken, unlooked):
    faults, missed = judge(notes, found)
    faults = [fault for fault in faults if "topics: all" not in fault]
    assert faults == ([] if broken is None else [f"what the source held: {broken}"])
    assert len(missed) == (unlooked is not None) and (unlooked or "") in "".join(missed)


def test_a_loss_is_described_in_words_and_what_was_to_end_is_none():
    was, now, ending, ended = (
        ServiceNote(holds=as_sorts(items))
        for items in (
            *(topics(**{f"t{n:03}": "x" for n in range(end)}) for end in (503, 303)),
            ENDING,
            ENDING[1:],
        )
    )
    assert find_losses(was, now, T0, T1) == [
        "200 of 504 topics are gone: t303, t304, t305, t306, t307, ..."
    ]
    assert find_losses(ending, ended, T0, T1) == []


def refuse(why):
    def act(*_):
        raise CouldNotLook(why)

    return act


WAS = note(T0, AB, newest=T0).note.services["mq"]
LOST = ["3 of 3 topics are gone: a, all, b"]


@pytest.mark.parametrize(
    ("changes", "not_read", "lost"),
    [
        ({"list_items": lambda at: []}, [], LOST),
        ({"newest": refuse("no connection")}, ["no connection"], []),
        (
            {"load_trust": refuse("no address"), "read_facts_remotely": refuse("a command")},
            ["no address", "facts: a command"],
            [],
        ),
    ],
    ids=["an empty one", "read in part", "not read"],
)
def test_what_could_not_be_read_is_in_the_note_and_is_not_lost(changes, not_read, lost):
    service = {
        "load_trust": lambda: None,
        "list_items": lambda at: topics(a="1"),
        "newest": lambda at: None,
        "version": lambda: "mq 1",
        "read_facts_remotely": dict,
        "close": lambda: None,
    }
    found = read_service(SimpleNamespace(**service | changes), T1, T0)
    assert (found.holds, found.not_read) == ({}, not_read)
    assert find_losses(WAS, found, T0, T1) == lost
