"""The database of Mosquitto, whose damage is an error and never taken for nothing; its canaries."""

import struct

import pytest

from fixtures.services.mosquitto import (
    MAGIC,
    read_database,
)


def chunk(kind, content):
    return struct.pack(">II", kind, len(content)) + content


def client(name, version=6):
    fixed = struct.pack("<q", 0) + struct.pack(">IHH", 0, 7, len(name))
    return chunk(6, fixed.ljust(24 if version == 6 else 16, b"\0") + name)


def subscription(name, topic):
    fixed = struct.pack(">IHHBB2x", 0, len(name), len(topic), 2, 0)
    return chunk(5, fixed + name + topic)


def queued(name):
    return chunk(3, struct.pack("<Q", 1) + struct.pack(">HHBBBB", 1, len(name), 2, 3, 0, 1) + name)


def stored(number, topic, *, retain, payload=b"x"):
    fixed = struct.pack("<Qq", number, 0) + struct.pack(
        ">IHHHHHBB", len(payload), 0, 0, 0, len(topic), 0, 1, retain
    )
    return chunk(2, fixed + topic + payload)


def retained(number):
    return chunk(4, struct.pack("<Q", number))


def head(version=6):
    return MAGIC + bytes(4) + struct.pack(">I", version) + chunk(1, bytes(16))


@pytest.mark.parametrize("version", [5, 6])
def test_sessions_with_topics_and_queues_are_read(version):
    data = head(version) + client(b"a", version) + client("ü".encode(), version)
    data += subscription(b"a", b"x/#") + queued(b"a") * 2 + chunk(4, bytes(8))
    found = read_database(data).sessions
    assert found.keys() == {"a", "ü"}
    assert (found["a"].topics, found["a"].queued) == (["x/# (QoS 2)"], 2)
    assert (found["ü"].topics, found["ü"].queued) == ([], 0)


def test_what_is_no_whole_database_is_an_error():
    whole = head() + client(b"a") + subscription(b"a", b"x")
    sound = {len(head()), len(head() + client(b"a")), len(MAGIC) + 8}
    for end in range(len(whole)):
        if end not in sound:
            with pytest.raises(ValueError):
                read_database(whole[:end])
    too_long = client(b"a").replace(struct.pack(">IHH", 0, 7, 1), struct.pack(">IHH", 0, 7, 99))
    for damaged in (b"x" + whole, head(3), head() + too_long):
        with pytest.raises(ValueError):
            read_database(damaged)


def test_a_database_that_is_cut_between_two_chunks_misses_what_came_after():
    parts = [stored(1, b"q", retain=False) + stored(2, b"a/b", retain=True)]
    parts += [client(b"a"), queued(b"a"), subscription(b"a", b"x"), retained(2)]
    whole = read_database(head() + b"".join(parts))
    assert whole.faults() == []
    assert whole.lasting() == {"retained message on a/b"}, "the session expires at once"
    for left in range(1, len(parts)):
        (fault,) = read_database(head() + b"".join(parts[:left])).faults()
        assert fault == "the message on a/b was to be retained, and is not: the file may be cut"
    assert read_database(head()).faults() == []


def test_what_names_a_thing_that_is_not_there_is_a_fault():
    assert read_database(head() + client(b"a") + queued(b"a")).faults() == [
        "1 queued messages have no content"
    ]
    assert read_database(head() + retained(7)).faults() == ["1 retained messages have no content"]
    assert read_database(head() + subscription(b"a", b"x")).faults() == [
        "session a has subscriptions or messages, and is not there itself"
    ]
    old = stored(1, b"t", retain=True) + stored(2, b"t", retain=True) + retained(2)
    assert read_database(head() + old).faults() == [], "the older one waits for a client"
    with pytest.raises(ValueError, match="longer than its chunk"):
        read_database(
            head()
            + stored(1, b"t", retain=False)[:-1].replace(
                b"\0\0\0\x02\0\0\0\x22", b"\0\0\0\x02\0\0\0\x21"
            )
        )
