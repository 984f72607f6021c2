"""Looks for archives that are not encrypted, whole or in part."""

MAGIC = (b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh")
TAR_AT = 257
MARKS = (b"backup/index.yaml", b"btrfs-stream", b"PRIVATE KEY-----")
"""What is somewhere in an export of Incus that is neither compressed nor encrypted."""


def plaintext_in(directory):
    """Files that begin as an archive, compressed or bare, or hold a part of a bare one."""
    found = []
    for path in directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            bare = content[TAR_AT:].startswith(b"ustar") or any(mark in content for mark in MARKS)
            if bare or content.startswith(MAGIC):
                found.append(path)
    return found
