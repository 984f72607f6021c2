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
    restored = SimpleNamespace(counted_by_hour=(), list_items=lambda at: found)
    checks = Checks(Drill("x", "tarball", 900, "drill-x", "low", origin="existing"))
    check_known(checks, restored, expected_at("mq", TAKEN, notes), "what the source held")
    return checks.broken, checks.unlooked


def losses(was, now):
    return find_losses(was.note.services["mq"], now.note.services["mq"], T0, T1)


def test_a_note_is_read_as_it_was_written(tmp_path):
    held = [*topics(a="1"), Item("silences", "s", "v", 1, T1), Item("lines", "h", "7", 7)]
    whole = note(T0, held, software="mq 1", newest=T0, facts={"f": "x"}, not_read=["why"]).note
    assert read_note(write_note(whole).encode()) == whole
    assert as_items(whole.services["mq"].holds) == tuple(held)
    (tmp_path / "n.yaml").write_text(write_note(whole))
    (tmp_path / "fleet.yaml").write_text("name: atlas\n")
    (tmp_path / "bad.yaml").write_text("note: 1\nat: yesterday\n")
    (tmp_path / "newer.yml").write_text("note: 2\nat: 2026-11-28T02:00:00Z\nservices: {}\n")
    found, (bad, newer) = find_notes(sorted(tmp_path.iterdir()))
    assert [file.note for file in found] == [whole]
    assert "bad.yaml cannot be read: at:" in bad and "newer.yml cannot be read: note:" in newer


@pytest.mark.parametrize(
    "text", [b"note: [", b"note: 1", b"\xff", b"note: 1\nat: 1\nservices: 3", b"[" * 5000]
)
def test_what_is_no_note_is_an_error(text):
    with pytest.raises(ValueError, match=r"."):
        read_note(text)


def test_a_note_by_hand_has_numbers():
    text = b"note: 1\nat: 2026-11-28T02:00:00Z\nservices: {mq: {holds: {topics: 2}}}\n"
    by_hand = NoteFile(Path("mine.yaml"), read_note(text))
    assert judge([by_hand], topics(a="1", b="2")) == ([], [])
    assert "topics: number" in judge([by_hand], topics(a="1"))[1][0]
    # Bracketed by two such notes it is exact.
    later = NoteFile(Path("mine2.yaml"), by_hand.note.model_copy(update={"at": T1}))
    broken, _ = judge([by_hand, later], topics(a="1"))
    assert broken == ["what the source held: changed: topics: number"]


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


GONE = " (there before the backup, and gone at the source after it)"


@pytest.mark.parametrize(
    ("before", "after", "restored", "faults"),
    [
        ({"a": "1", "b": "2"}, {"a": "1", "b": "2"}, {"a": "1", "b": "2"}, []),
        ({"a": "1", "b": "2"}, {"a": "1", "b": "2"}, {"a": "1"}, ["lost: topics: b"]),
        (
            {"a": "1"},
            {"a": "1"},
            {"a": "1", "c": "3"},
            ["there, and the source had it not: topics: c"],
        ),
        # What moved may have any value between.
        ({"a": "1", "b": "x"}, {"a": "2", "b": "x"}, {"a": "9", "b": "x"}, []),
        # A broker that lost messages at the stop for its backup; or they were deleted after it.
        ({"a": "1", "b": "2"}, {"a": "1"}, {"a": "1"}, [f"lost: topics: b{GONE}"]),
        ({"a": "1", "b": "2"}, {"a": "1"}, {"a": "1", "b": "2"}, []),
        # What came during the backup may be there.
        ({"a": "1"}, {"a": "1", "b": "2"}, {"a": "1"}, []),
        ({"a": "1"}, {"a": "1", "b": "2"}, {"a": "1", "b": "7"}, []),
    ],
)
def test_what_is_the_same_in_two_notes_must_be_back(before, after, restored, faults):
    notes = [note(T0, topics(**before)), note(T1, topics(**after))]
    broken = [fault for fault in judge(notes, topics(**restored))[0] if "topics: all" not in fault]
    assert broken == [f"what the source held: {fault}" for fault in faults]


@pytest.mark.parametrize("number", [9, 10, 15, 20, 21])
def test_a_number_that_moved_lies_between(number):
    broken, unlooked = judge([note(T0, rows(10)), note(T1, rows(20))], rows(number))
    assert (bool(broken), unlooked) == (not 10 <= number <= 20, [])


def test_what_was_to_end_by_itself_is_not_missed():
    both = [Item("silences", "s", "v", until=T0 + timedelta(seconds=90)), Item("silences", "t", "")]
    notes = [note(T0, both), note(T1, both[1:])]
    assert judge(notes, both[1:]) == ([], [])
    assert losses(*notes) == []


def test_data_with_a_time_is_compared_as_of_the_first_note():
    first = note(T0, rows(100), newest=T0)
    later = note(T1, rows(90), newest=T1, again={"at": T0, "holds": as_sorts(rows(101))})
    for number in (100, 101):
        assert judge([first, later], rows(number)) == ([], [])
    # Without that reading only more than was there can be late.
    for notes in ([first, later], [first]):
        assert judge(notes, rows(99))[0]
    broken, (unlooked,) = judge([first], rows(101))
    assert broken == [] and "some came later" in unlooked


def test_one_note_alone_cannot_tell_a_change_from_a_loss():
    alone = [note(T0, topics(a="1", b="2"))]
    assert judge(alone, topics(a="1", b="2")) == ([], [])
    broken, unlooked = judge(alone, topics(a="1"))
    assert broken == []
    assert "changed between the reading and the backup, or wrong in it" in unlooked[0]


def test_a_loss_is_described_in_words():
    was, now = (
        note(at, topics(**{f"t{n:03}": "x" for n in range(count)}))
        for at, count in ((T0, 503), (T1, 303))
    )
    assert losses(was, now) == ["200 of 504 topics are gone: t303, t304, t305, t306, t307, ..."]


def refuse(why):
    def act(*_):
        raise CouldNotLook(why)

    return act


TIMED = note(T0, topics(a="1", b="2"), newest=T0)
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
    assert find_losses(TIMED.note.services["mq"], found, T0, T1) == lost
