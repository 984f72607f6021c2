"""Memory as a machine has it that is up for long: full, and of nothing that is measured.

A virtual machine may give what memory it does not use back to its host (free page reporting of
virtio_balloon). The first write to each page that was given back is then dear (`python -m
benchmarks.memory` shows how dear), so that what moves much data would be timed by how much of the
memory happened to be there, and 1 GiB at another pace than 10. Pages that hold a file are not given
back, and the kernel reuses them at once.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20
STEP = 256 * MIB
ENOUGH = 8
"""Steps in a row that took no free memory, until it counts as full."""

SHOWN_BYTES = 4096 * MIB
ON_DISK = "/var/tmp"  # noqa: S108 - no name in it is ours: the files have none
"""A file system whose files are read by way of the page cache; /tmp may be memory itself."""


class Memory:
    """The page cache, filled with holes of a file that has no name and takes no disk."""

    def __init__(self, holes: int) -> None:
        self._holes = holes
        self._size = 2 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._at = 0
        os.truncate(holes, self._size)

    def settle(self, *measured: Path) -> None:
        """Writes of before are on disk, what is measured is not in memory, and memory is full.

        Args:
            measured: files, and directories with all that is in them; what is not there is not.
        """
        os.sync()
        for place in measured:
            forget(place)
        self.fill()

    def fill(self) -> None:
        """Read holes until they take no more free memory: what is read then takes older pages.

        Memory that is just being given back is not counted as free, so that one look may deceive.
        """
        into, in_vain = bytearray(MIB), 0
        for _ in range(self._size // STEP):
            before = free()
            for at in range(self._at, self._at + STEP, MIB):
                os.preadv(self._holes, [into], at)
            self._at = (self._at + STEP) % (self._size - STEP)
            in_vain = in_vain + 1 if before - free() < STEP // 2 else 0
            if in_vain == ENOUGH:
                return


@contextmanager
def memory() -> Iterator[Memory]:
    """The page cache, to be filled; what fills it is free again afterwards."""
    with tempfile.TemporaryFile(dir=ON_DISK) as holes:
        yield Memory(holes.fileno())


def free() -> int:
    """Bytes of memory that hold nothing."""
    return told("/proc/meminfo", "MemFree")


def told(table: str, row: str) -> int:
    """Bytes of one row of a table in KiB (proc_meminfo(5), proc_pid_status(5))."""
    rows = Path(table).read_text().splitlines()
    return 1024 * next(int(one.split()[1]) for one in rows if one.startswith(f"{row}:"))


def forget(place: Path) -> None:
    """Drop what is on the disk of a file, or of all files below a directory, from memory.

    Nothing may write there meanwhile.
    """
    files = [place] if place.is_file() else [one for one in place.rglob("*") if one.is_file()]
    for file in files:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _paces() -> list[float]:
    """MB/s at which a new file is written, for each 256 MiB of it."""
    seen, block = [], os.urandom(MIB)
    with tempfile.TemporaryFile(dir=ON_DISK, buffering=0) as file:
        for _ in range(SHOWN_BYTES // STEP):
            begun = time.monotonic()
            for _ in range(STEP // MIB):
                file.write(block)
            seen.append(STEP / (time.monotonic() - begun) / 1e6)
    return seen


def main() -> None:
    """Show at what pace a file is written into memory as it is, and into full memory."""
    print(f"memory as it is, {free() // MIB} MiB of it free")
    print("MB/s of each 256 MiB:", *(f"{pace:.0f}" for pace in _paces()))
    with memory() as cache:
        begun = time.monotonic()
        cache.fill()
        print(f"filled in {time.monotonic() - begun:.1f} s, {free() // MIB} MiB are free")
        print("MB/s of each 256 MiB:", *(f"{pace:.0f}" for pace in _paces()))


if __name__ == "__main__":
    main()
