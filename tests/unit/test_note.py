"""Notes: what a source held, and what a backup between two of them has to hold."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

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


def judge(known, found, newest=None):
    """The faults of a restored service that holds `found`, and what was not looked at."""

    class Restored:
        counted_by_hour = ()

        def list_items(self, at):
            return found

    checks = Checks(Drill("x", "tarball", 900, "drill-x", "low", origin="existing"))
    check_known(checks, Restored(), known, "what the source held")
    return checks.broken, checks.unlooked


def test_a_note_is_read_as_it_was_written(tmp_path):
    held = [*topics(a="1"), Item("silences", "s", "v", 1, T1), Item("lines", "h", "7", 7)]
    whole = note(T0, held, software="mq 1", newest=T0, facts={"f": "x"}, not_read=["why"]).note
    assert read_note(write_note(whole).encode()) == whole
    assert as_items(whole.services["mq"].holds) == tuple(held)
    (tmp_path / "n.yaml").write_text(write_note(whole))
    (tmp_path / "fleet.yaml").write_text("name: atlas\n")
    (tmp_path / "bad.yaml").write_text("note: 1\nat: yesterday\n")
    (tmp_path / "newer.yml").write_text("note: 2\nat: 2026-11-28T02:00:00Z\nservices: {}\n")
    found, faults = find_notes(sorted(tmp_path.iterdir()))
    assert [file.note for file in found] == [whole]
    assert len(faults) == 2
    assert "bad.yaml cannot be read: at:" in faults[0]
    assert "newer.yml cannot be read: note:" in faults[1]


@pytest.mark.parametrize(
    "text", [b"note: [", b"note: 1", b"\xff", b"note: 1\nat: 1\nservices: 3", b"[" * 5000]
)
def test_what_is_no_note_is_an_error(text):
    with pytest.raises(ValueError, match=r"."):
        read_note(text)


def test_a_note_by_hand_has_numbers():
    by_hand = read_note(
        b"note: 1\nat: 2026-11-28T02:00:00Z\nservices: {mq: {holds: {topics: 2}}}\n"
    )
    known = expected_at("mq", TAKEN, [NoteFile(Path("mine.yaml"), by_hand)])
    assert judge(known, topics(a="1", b="2")) == ([], [])
    _, unlooked = judge(known, topics(a="1"))
    assert "topics: number" in unlooked[0]
    # Bracketed by two such notes it is exact.
    later = by_hand.model_copy(update={"at": T1})
    notes = [NoteFile(Path("mine.yaml"), by_hand), NoteFile(Path("mine2.yaml"), later)]
    broken, _ = judge(expected_at("mq", TAKEN, notes), topics(a="1"))
    assert broken == ["what the source held: changed: topics: number"]


def test_only_a_note_from_before_the_backup_counts():
    assert expected_at("mq", TAKEN, []) is None
    assert expected_at("mq", TAKEN, [note(T1, topics(a="1"))]) is None
    assert expected_at("mq", TAKEN, [note(T0, [])]) is None
    assert expected_at("other", TAKEN, [note(T0, topics(a="1"))]) is None
    # An archive has its time in whole seconds: a note of the same second was before it.
    within = note(TAKEN + timedelta(milliseconds=600), topics(a="1"))
    assert expected_at("mq", TAKEN, [within]) is not None
    assert expected_at("mq", TAKEN + timedelta(milliseconds=1), [within]) is None


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
    known = expected_at("mq", TAKEN, [note(T0, topics(**before)), note(T1, topics(**after))])
    broken = judge(known, topics(**restored))[0]
    expected = [f"what the source held: {fault}" for fault in faults]
    assert [fault for fault in broken if "topics: all" not in fault] == expected


def test_a_number_that_moved_lies_between():
    def rows(number):
        return [Item("rows", "orders", str(number), number)]

    known = expected_at("mq", TAKEN, [note(T0, rows(10)), note(T1, rows(20))])
    for number in (10, 15, 20):
        assert judge(known, rows(number)) == ([], [])
    for number in (9, 21):
        assert judge(known, rows(number))[0]


def test_what_was_to_end_by_itself_is_not_missed():
    def silences(until):
        return [Item("silences", "s", "v", until=until), Item("silences", "t", "v")]

    notes = [note(T0, silences(T0 + timedelta(seconds=90))), note(T1, silences(None)[1:])]
    known = expected_at("mq", TAKEN, notes)
    assert judge(known, silences(None)[1:]) == ([], [])
    assert find_losses(notes[0].note.services["mq"], notes[1].note.services["mq"], T0, T1) == []


def test_data_with_a_time_is_compared_as_of_the_first_note():
    def lines(number):
        return [Item("lines", "of the last hour", str(number), number)]

    later = note(T1, lines(90), newest=T1, again={"at": T0, "holds": as_sorts(lines(101))})
    known = expected_at("mq", TAKEN, [note(T0, lines(100), newest=T0), later])
    for number in (100, 101):
        assert judge(known, lines(number)) == ([], [])
    assert judge(known, lines(99))[0]
    # Without that reading only more than was there can be late.
    alone = expected_at("mq", TAKEN, [note(T0, lines(100), newest=T0)])
    assert judge(alone, lines(99))[0]
    broken, unlooked = judge(alone, lines(101))
    assert broken == []
    assert "some came later" in unlooked[0]


def test_one_note_alone_cannot_tell_a_change_from_a_loss():
    known = expected_at("mq", TAKEN, [note(T0, topics(a="1", b="2"))])
    assert judge(known, topics(a="1", b="2")) == ([], [])
    broken, unlooked = judge(known, topics(a="1"))
    assert broken == []
    assert "changed between the reading and the backup, or wrong in it" in unlooked[0]


def test_a_loss_is_described_in_words():
    was = note(T0, topics(**{f"t{n:03}": "x" for n in range(503)})).note.services["mq"]
    now = note(T1, topics(**{f"t{n:03}": "x" for n in range(303)})).note.services["mq"]
    assert find_losses(was, now, T0, T1) == [
        "200 of 504 topics are gone: t303, t304, t305, t306, t307, ..."
    ]


def test_a_service_that_could_not_be_read_has_lost_nothing():
    was = note(T0, topics(a="1", b="2"), newest=T0).note.services["mq"]
    assert find_losses(was, ServiceNote(not_read=["no connection"]), T0, T1) == []
    # One that was read, and is empty, has lost everything.
    assert find_losses(was, ServiceNote(), T0, T1) == ["3 of 3 topics are gone: a, all, b"]


def test_a_service_that_was_read_in_part_is_not_compared():
    class Cut:
        def load_trust(self):
            return

        def list_items(self, at):
            return topics(a="1")

        def newest(self, at):
            raise CouldNotLook("no connection")

        def read_facts_remotely(self):
            return {}

        def close(self):
            return

    was = note(T0, topics(a="1", b="2"), newest=T0).note.services["mq"]
    found = read_service(Cut(), T1, T0)
    assert (found.holds, found.not_read) == ({}, ["no connection"])
    assert find_losses(was, found, T0, T1) == []


def test_what_could_not_be_read_is_in_the_note():
    class Mute:
        def load_trust(self):
            raise CouldNotLook("no address")

        def read_facts_remotely(self):
            raise CouldNotLook("a command")

        def close(self):
            return

    found = read_service(Mute(), T0)
    assert found.holds == {}
    assert found.not_read == ["no address", "facts: a command"]
