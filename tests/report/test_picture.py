"""The pictures of the report in README.md: made from the sample, and no older than it.

`UPDATE_PICTURES=1 python -m pytest tests/report/test_picture.py` makes them again.
"""

import hashlib
import os
import struct
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "reports" / "sample"
WIDTH, HEIGHT = 1000, 1000
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
"""Last chunk of a PNG file."""


def signed(png, text):
    """Add the text chunk `Source` to a PNG file."""
    body = b"tEXt" + b"Source\0" + text.encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png.removesuffix(END) + chunk + END


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_shows_the_sample(browser, scheme):
    file = ROOT / "docs" / f"report-{scheme}.png"
    source = hashlib.sha256((SAMPLE / "evidence.json").read_bytes()).hexdigest()
    page = browser.new_page(
        viewport={"width": WIDTH, "height": HEIGHT},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page.goto((SAMPLE / "report.html").as_uri())
    # The age of the proof grows every day.
    page.add_style_tag(content=".dr-age { display: none }")
    taken = signed(page.screenshot(), source)
    page.close()
    if os.environ.get("UPDATE_PICTURES"):
        file.write_bytes(taken)
    assert source.encode() in file.read_bytes(), "UPDATE_PICTURES=1 makes the picture again"
    assert file.read_bytes()[16:24] == struct.pack(">II", WIDTH, HEIGHT)
