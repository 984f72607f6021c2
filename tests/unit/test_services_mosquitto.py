"""The database of Mosquitto, whose damage is an error and never taken for nothing; its canaries."""

import struct

import pytest

from fixtures.services.mosquitto import MAGIC, read_database


def chunk(kind, content):
    return struct.pack(">II", kind, len(content)) + content


def client(name, version=6):
    fixed = struct.pack("<q", 0) + struct.pack(">IHH", 0, 7, len(name))
    return chunk(6, fixed.ljust(24 if version == 6 else 16, b"\0") + name)


def subscription(name, topic):
    return chunk(5, struct.pack(">IHHBB2x", 0, len(name), len(topic), 2, 0) + name + topic)


def queued(name):
    return chunk(3, struct.pack("<Q", 1) + struct.pack(">HHBBBB", 1, len(name), 2, 3, 0, 1) + name)


def stored(number, topic, *, retain, size=1):
    lengths = struct.pack(">IHHHHHBB", size, 0, 0, 0, len(topic), 0, 1, retain)
    return chunk(2, struct.pack("<Qq", number, 0) + lengths + topic + b"x")


def retained(number):
    return chunk(4, struct.pack("<Q", number))


def head(version=6):
    return MAGIC + bytes(4) + struct.pack(">I", version) + chunk(1, bytes(16))


HEAD, CLIENT = head(), client(b"a")


@pytest.mark.parametrize("version", [5, 6])
def test_sessions_with_topics_and_queues_are_read(version):
    data = head(version) + client(b"a", version) + client("ü".encode(), version)
    found = read_database(data + subscription(b"a", b"x/#") + queued(b"a") * 2 + retained(0))
    assert found.sessions == {"a": False, "ü": False}
    assert found.topics == {"a": ["x/# (QoS 2)"]}
    assert [name for name, _ in found.queued] == ["a", "a"]


def test_what_is_no_whole_database_is_an_error():
    whole = HEAD + CLIENT + subscription(b"a", b"x")
    sound = {len(HEAD), len(HEAD + CLIENT), len(MAGIC) + 8}
    too_long = CLIENT.replace(struct.pack(">IHH", 0, 7, 1), struct.pack(">IHH", 0, 7, 99))
    cut = [whole[:end] for end in range(len(whole)) if end not in sound]
    for damaged in (*cut, b"x" + whole, head(3), HEAD + too_long):
        with pytest.raises(ValueError):
            read_database(damaged)
    with pytest.raises(ValueError, match="longer than its chunk"):
        read_database(HEAD + stored(1, b"t", retain=False, size=2))


def test_a_database_that_is_cut_between_two_chunks_misses_what_came_after():
    parts = [stored(1, b"q", retain=False) + stored(2, b"a/b", retain=True)]
    parts += [CLIENT, queued(b"a"), subscription(b"a", b"x"), retained(2)]
    whole = read_database(HEAD + b"".join(parts))
    assert whole.faults() == []
    assert whole.lasting() == {"retained message on a/b"}, "the session expires at once"
    for left in range(1, len(parts)):
        (fault,) = read_database(HEAD + b"".join(parts[:left])).faults()
        assert fault == "the message on a/b was to be retained, and is not: the file may be cut"


@pytest.mark.parametrize(
    "content, faults",
    [
        (b"", []),
        (CLIENT + queued(b"a"), ["1 queued messages have no content"]),
        (retained(7), ["1 retained messages have no content"]),
        (
            subscription(b"a", b"x"),
            ["session a has subscriptions or messages, and is not there itself"],
        ),
        # The older one waits for a client.
        (stored(1, b"t", retain=True) + stored(2, b"t", retain=True) + retained(2), []),
    ],
)
def test_what_names_a_thing_that_is_not_there_is_a_fault(content, faults):
    assert read_database(HEAD + content).faults() == faults
