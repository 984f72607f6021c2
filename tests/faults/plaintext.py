"""Looks for archives that are not encrypted."""

from __future__ import annotations

MAGIC = (b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh")
TAR_AT = 257


def plaintext_in(directory):
    """Files that begin as a compressed archive or as a tar archive does."""
    found = []
    for path in directory.rglob("*"):
        if path.is_file():
            head = path.read_bytes()[:512]
            if head.startswith(MAGIC) or head[TAR_AT:].startswith(b"ustar"):
                found.append(path)
    return found
