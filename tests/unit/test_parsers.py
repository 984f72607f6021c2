"""Files of services, parsed from bytes: whole ones are read, and no damage is taken for nothing."""

import base64
import io
import json
import struct
import zipfile

import pytest
from google_crc32c import value as crc32c
from hypothesis import given
from hypothesis import strategies as st

from fixtures.services import stores
from fixtures.services.alertmanager import id_of, read_state
from fixtures.services.atlantis import REMOTE, bolt_database, inspect_plan, plan_file
from fixtures.services.loki import Chunk, chunk_of, read_index
from fixtures.services.prometheus import Span, spans_of
from fixtures.services.stores import ELEMENT, HEAD, LINK, META_BODY, Bolt


def varint(number):
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def part(number, value):
    """Return a field of protobuf."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def sized(message):
    return varint(len(message)) + message


def fails_for_each(damaged, read):
    for data in damaged:
        with pytest.raises(ValueError):
            read(data)


def fails_for_each_cut(data, read, sound):
    fails_for_each([data[:end] for end in range(len(data)) if end not in sound], read)


def flipped(data, places, bits=0x40):
    return [data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :] for at in places]


@given(st.integers(0, 2**64 - 1))
def test_a_number_is_read_as_it_was_written(number):
    assert stores.varint(varint(number), 0) == (number, len(varint(number)))


def test_fields_of_every_type_are_read_and_unknown_types_are_refused():
    message = part(1, 300) + b"\x11" + bytes(8) + part(3, b"x") + b"\x25" + bytes(4)
    assert list(stores.fields(message)) == [(1, 300), (2, bytes(8)), (3, b"x"), (4, bytes(4))]
    assert stores.numbers(message) == {1: 300}
    damaged = (b"\x0b", b"\x00\x01", b"\x0a\x05x", b"\x08", b"\x08" + b"\xff" * 11)
    fails_for_each(damaged, lambda data: list(stores.fields(data)))


def record(content, seconds):
    return sized(part(1, content) + part(2, part(1, seconds)))


def test_state_of_alertmanager_is_read_to_its_end():
    one, two = record(part(1, b"id-1") + part(3, 1), 77), record(part(1, b"id-2"), 88)
    found = read_state(one + two)
    assert [(id_of(silence), expires) for silence, expires in found] == [("id-1", 77), ("id-2", 88)]
    fails_for_each_cut(one + two, read_state, {0, len(one)})
    damaged = (bytes(40), one + bytes(9), sized(part(1, b"")), sized(part(2, part(1, 1))))
    fails_for_each(damaged, read_state)
    with pytest.raises(ValueError, match="no id"):
        id_of(part(2, b"x"))


def page(number, kind, form, rows):
    """Return a page of bolt; each row has fields of its head, a key, and what follows it."""
    heads, content = b"", b""
    for nth, (before, key, value, after) in enumerate(rows):
        position = form.size * (len(rows) - nth) + len(content)
        heads += form.pack(*before, position, len(key), *after)
        content += key + value
    return (HEAD.pack(number, kind, len(rows), 0) + heads + content).ljust(4096, b"\0")


def leaf(number, entries):
    rows = [((flags,), key, value, (len(value),)) for flags, key, value in entries]
    return page(number, 2, ELEMENT, rows)


def branch(number, links):
    return page(number, 1, LINK, [((), key, b"", (child,)) for key, child in links])


def bolt_file(*pages, root, free=()):
    """Return a database whose page 2 has the free pages, and the others what is given."""
    whole = b""
    for number in (0, 1):
        body = META_BODY.pack(0xED0CDAED, 2, 4096, 0, root, 0, 2, 3 + len(pages), number)
        total = 0xCBF29CE484222325
        for byte in body:
            total = (total ^ byte) * 0x100000001B3 % 2**64
        head = HEAD.pack(number, 4, 0, 0) + body + struct.pack("<Q", total)
        whole += head.ljust(4096, b"\0")
    listed = HEAD.pack(2, 16, len(free), 0) + struct.pack(f"<{len(free)}Q", *free)
    return whole + listed.ljust(4096, b"\0") + b"".join(pages)


def entries_of(data):
    found = {}
    Bolt(data, lambda path, key, _: found.setdefault(path, []).append(key)).read()
    return found


def test_a_tree_of_bolt_is_read_in_order_and_each_page_once():
    leaves = [leaf(4, [(0, b"a", b"1"), (0, b"b", b"2")]), leaf(5, [(0, b"c", b"3")])]
    tree = [branch(3, [(b"a", 4), (b"c", 5)]), *leaves]
    bucket = leaf(6, [(1, b"locks", struct.pack("<QQ", 3, 0))])
    whole = bolt_file(*tree, bucket, root=6)
    assert entries_of(whole) == {(b"locks",): [b"a", b"b", b"c"]}
    assert entries_of(bolt_file(*tree, bucket, bytes(4096), root=6, free=(7,)))
    pages = range(0, len(whole), 4096)
    fails_for_each([whole[:at] + bytes(4096) + whole[at + 4096 :] for at in pages], entries_of)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (bolt_file(leaf(3, [(0, b"b", b""), (0, b"a", b"")]), root=3), "out of order"),
        (bolt_file(leaf(3, []), leaf(4, []), root=3), "1 pages are neither used nor free"),
        (bolt_file(leaf(3, []), root=3, free=(3,)), "page 3 is used and free"),
        (bolt_file(leaf(3, []), root=3, free=(9,)), "list of free pages is damaged"),
        (bolt_file(branch(3, [(b"a", 3)]), root=3), "page 3 is used twice"),
        (bolt_file(branch(3, [(b"x", 4)]), leaf(4, [(0, b"a", b"")]), root=3), "out of order"),
        (bolt_file(branch(3, [(b"a", 99)]), root=3), "page 99 is named, of 4"),
        (bolt_file(leaf(7, []), root=3), "it says page 7"),
        (bolt_file(leaf(3, [(1, b"b", bytes(32))]), root=3), "the bucket b'b' is damaged"),
        (bolt_file(leaf(3, []), root=3)[:-1], "it is cut: 1 bytes"),
        (b"", "ends within a page"),
    ],
)
def test_each_fault_of_a_bolt_file_is_named(data, fault):
    with pytest.raises(ValueError, match=fault):
        entries_of(data)


def test_the_database_that_drills_write_has_no_fault():
    locks = {f"k{n}".encode(): b"{}" for n in range(300)}
    found = entries_of(bolt_database({"runLocks": locks, "pulls": {}}))
    assert found == {(b"runLocks",): sorted(locks)}


def test_plans_are_zips_and_others_are_named(tmp_path):
    file, whole = tmp_path / "plan", plan_file()

    def inspected(content):
        file.write_bytes(content)
        return inspect_plan(file)

    assert inspected(whole) == ("", "")
    assert inspected(REMOTE + b"run") == ("plans of a remote", "")
    assert inspected(json.dumps({"encrypted_data": "x"}).encode())[0] == "plans that are encrypted"
    assert "it is no plan" in inspected(b"{}")[1]
    assert "cannot be read" in inspected(whole[:-30])[1]
    assert inspected(whole.replace(b"PK\x01\x02", b"PK\x01\x03"))[1]
    (damaged,) = flipped(whole, [whole.index(b"tfplan") + 100])
    assert "is damaged" in inspected(damaged)[1]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("other", b"x")
    assert inspected(stream.getvalue()) == ("", "it holds no plan")


def entry(key, value, meta=0x40):
    key += bytes(8)
    body = bytes([meta, 0]) + varint(len(key)) + varint(len(value)) + b"\0" + key + value
    return body + crc32c(body).to_bytes(4)


def record_key(table, key=b""):
    named = len(table).to_bytes(2, "little") + table
    return named + (len(key).to_bytes(2, "little") + key if key else b"")


def test_a_log_of_badger_is_read_to_its_last_entry():
    parts = [bytes(20), entry(record_key(b"t"), b""), entry(record_key(b"t", b"k"), b"value")]
    parts += [entry(b"!badger!txn", b"1", 0x80), entry(record_key(b"t", b"k"), b"", 0x41)]
    whole = b"".join(parts)
    found = []
    stores.read_log(whole, lambda key, value: found.append((stores.parts_of(key), value)))
    assert found == [(("t", b""), b""), (("t", b"k"), b"value"), (("t", b"k"), None)]
    sound = {sum(map(len, parts[:n])) for n in range(1, len(parts))} | set(range(20))

    def read(data):
        stores.read_log(data, lambda *_: None)

    fails_for_each_cut(whole, read, sound)
    fails_for_each(flipped(whole, range(20, len(whole))), read)


def block(content, size):
    """A block of a table of Badger of this size, with its sum."""
    room = size - len(part(2, 1 << 31)) - 4
    content = content.ljust(room, b"\0")
    while True:
        total = part(2, crc32c(content))
        if len(content) + len(total) + 4 == size:
            return content + total + struct.pack(">I", len(total))
        content = bytes([content[0], content[1] + 1]) + content[2:].ljust(room - 2, b"\0")


def test_tables_of_badger_are_those_of_its_manifest():
    def change(*parts_of_change):
        changes = b"".join(part(1, each) for each in parts_of_change)
        return struct.pack(">II", len(changes), crc32c(changes)) + changes

    first, second = change(part(1, 1), part(1, 2) + part(3, 1)), change(part(1, 1) + part(2, 1))
    whole = b"Bdgr" + struct.pack(">I", 7) + first + second
    assert stores.read_manifest(whole) == {"000002.sst": False}
    fails_for_each_cut(whole, stores.read_manifest, {8, 8 + len(first), *range(4, 8)})
    blocks = block(b"k", 60) + block(b"l", 40)
    index = part(1, part(1, b"k") + part(3, 60)) + part(1, part(2, 60) + part(3, 40))
    total = part(2, crc32c(index))
    table = blocks + index + struct.pack(">I", len(index)) + total + struct.pack(">I", len(total))
    stores.check_table(table)
    fails_for_each_cut(table, stores.check_table, set())
    damaged = (table[1:], b"x" + table, table.replace(index, bytes(len(index))))
    fails_for_each(damaged, stores.check_table)
    fails_for_each(flipped(table, range(100)), stores.check_table)
    stores.check_table(b"x" + table[1:], is_packed=True)


def zigzag(number):
    return varint((number << 1) ^ (number >> 63))


def index_of(streams, version=3):
    """Return an index of Loki, without the parts that are not read."""
    whole = struct.pack(">IB", 0xBAAAD700, version)
    for stream, chunks in streams.items():
        body = stream.to_bytes(8) + varint(1) + varint(5) + varint(6) + varint(len(chunks))
        body += struct.pack(">I", 3) + b"abc" if version > 2 else b""
        through = 0
        for chunk, lines in chunks:
            body += zigzag(chunk.start - through) + varint(chunk.through - chunk.start)
            body += varint(7) + varint(lines) + chunk.checksum.to_bytes(4)
            through = chunk.through
        whole = whole.ljust(-(-len(whole) // 16) * 16, b"\0")
        whole += varint(len(body)) + body + crc32c(body).to_bytes(4)
    toc = struct.pack(">9Q", 5, 16, len(whole), 0, 0, 0, 0, 1, 2)
    return whole + toc + crc32c(toc).to_bytes(4)


@pytest.mark.parametrize("version", [2, 3])
def test_an_index_of_loki_names_each_chunk_and_its_lines(version):
    chunks = [(Chunk(7, 1000, 2000, 0xABCD), 10), (Chunk(7, 1500, 1900, 1), 300)]
    streams = {7: chunks, 2**63: [(Chunk(2**63, 5, 5, 2**32 - 1), 1)]}
    whole = index_of(streams, version)
    assert list(read_index(whole)) == [*chunks, *streams[2**63]]
    used = [at for at in range(16, len(whole) - 76) if whole[at]]
    fails_for_each_cut(whole, lambda data: list(read_index(data)), set())
    fails_for_each(flipped(whole, used, 0xFF), lambda data: list(read_index(data)))
    with pytest.raises(ValueError, match="its version is 9"):
        list(read_index(index_of(streams, 9)))


def test_a_chunk_of_loki_is_named_by_its_content():
    content = b"content"
    chunk = Chunk(0x7E09, 0x1A2, 0x1A3, crc32c(content))
    tail = f"1a2:1a3:{crc32c(content):x}"
    new = f"chunks/fake/7e09/{base64.b64encode(tail.encode()).decode()}"
    old = f"chunks/{base64.b64encode(f'fake/7e09:{tail}'.encode()).decode()}"
    assert chunk_of(new) == chunk_of(old) == chunk
    for other in ("chunks/loki_cluster_seed.json", "chunks/index/x.gz", "chunks/fake/7e09/YWJj"):
        assert chunk_of(other) is None


def meta(ulid, start, end, series, samples):
    stats = {"numSeries": series, "numSamples": samples}
    return {"ulid": ulid, "minTime": start, "maxTime": end, "stats": stats}


def test_blocks_that_overlap_are_read_as_one():
    blocks = [meta("C", 20, 30, 1, 5), meta("A", 0, 10, 2, 20), meta("B", 5, 15, 3, 10)]
    assert spans_of(blocks) == [Span(("A", "B"), 0, 15, 5, 30, 20), Span(("C",), 20, 30, 1, 5, 5)]
    assert spans_of([]) == []


def test_more_than_a_block_has_and_nothing_of_it_are_faults():
    span = Span(("A",), 0, 10, 2, 20, 20)
    assert not span.faults_of(2, 20, is_shared=False)
    assert not span.faults_of(2, 18, is_shared=False), "stale markers are not read"
    (fault,) = span.faults_of(3, 20, is_shared=False)
    assert fault == "block A: 3 series were read, 2 are in meta.json"
    assert not span.faults_of(3, 25, is_shared=True), "the head has some of that time too"
    assert len(span.faults_of(0, 0, is_shared=True)) == 2
