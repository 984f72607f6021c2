"""The search for known bytes in an export: every spelling, every place, and no false finding."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import textwrap
from collections.abc import Iterator

import pytest

from fixtures.backups import find as engine
from fixtures.backups.find import search, spellings
from fixtures.errors import CouldNotLook

KEY = bytes(range(120, 152))
WANTED = {"key": KEY}


def export(files: dict[str, bytes], chunk: int = 1000) -> Iterator[bytes]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    whole = stream.getvalue()
    return (whole[at : at + chunk] for at in range(0, len(whole), chunk))


@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("line", [64, 76, 10_000])
@pytest.mark.parametrize("encode", [base64.standard_b64encode, base64.urlsafe_b64encode])
def test_a_key_is_found_in_base64_wherever_it_begins(before, line, encode):
    text = encode(b"\xfb" * before + KEY + b"\xff\xee").decode()
    pem = "\n".join(textwrap.wrap(text, line)).encode()
    quoted = json.dumps({"key": pem.decode()}).encode()
    windows = pem.replace(b"\n", b"\r\n")
    for content in (pem, quoted, windows):
        assert search(export({"a": content}), WANTED) == {"key": ["a"]}


@pytest.mark.parametrize("content", [KEY, KEY.hex().encode(), KEY.hex().upper().encode()])
def test_a_key_is_found_raw_and_in_hexadecimal(content):
    files = {"without": b"x" * 5000, "with": b"y" * 777 + content + b"z"}
    assert search(export(files), WANTED) == {"key": ["with"]}


@pytest.mark.parametrize("at", [0, 1, 63, 64, 65, 100, 127, 128, 200])
def test_a_key_is_found_across_the_edges_of_what_is_read_at_once(monkeypatch, at):
    monkeypatch.setattr(engine, "CHUNK", 64)
    text = base64.b64encode(KEY)
    split = text[:20] + b"\n" + text[20:]
    for content in (KEY, split):
        assert search(export({"a": b"." * at + content + b"." * 90}), WANTED) == {"key": ["a"]}


def test_another_key_is_not_found():
    other = bytes(range(121, 153))
    content = other + base64.b64encode(other) + other.hex().encode() + KEY[:-1] + b"!" + KEY[1:]
    assert search(export({"a": content}), WANTED) == {"key": []}


def test_no_spelling_is_short_enough_to_be_met_by_chance():
    assert min(len(way) for way in spellings(KEY)) >= len(KEY)


def test_an_export_without_files_says_nothing():
    with pytest.raises(CouldNotLook, match="holds no file"):
        search(export({}), WANTED)


def test_what_is_no_archive_says_nothing():
    with pytest.raises(CouldNotLook, match="cannot be searched"):
        search(iter([b"not a tar archive" * 100]), WANTED)


def test_an_archive_that_is_cut_short_says_nothing():
    whole = b"".join(export({"a": b"x" * 5000}))
    with pytest.raises(CouldNotLook, match="cannot be searched"):
        search(iter([whole[:3000]]), WANTED)
