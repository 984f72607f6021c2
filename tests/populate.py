"""The whole source project at once, for labs that a test brings up by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from fixtures.fleet.model import Bucket, Fleet, Service
from fixtures.recovery.source import Buckets, Source


def populate(
    socket: str,
    fleet: Fleet,
    backups: Path,
    report: Callable[[str], None],
    buckets: Callable[[], AbstractContextManager[Buckets]],
    back_up: Callable[[Sequence[Service], Sequence[Bucket]], None],
    members: Mapping[str, str] | None = None,
) -> bool:
    """Make the source project with all its parts; see `Source` for the arguments.

    Returns True if this call made any of it; raises what a part failed by.
    """
    source = Source(socket, fleet, backups, report, buckets, back_up, members)
    source.prepare()
    before = source.record.parts.keys()
    for fault in source.ensure([part.name for part in fleet.parts]).values():
        raise fault
    return source.record.parts.keys() != before
