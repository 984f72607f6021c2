"""The whole source project at once, for labs that a test brings up by itself."""

from fixtures.recovery.source import Source


def populate(socket, fleet, backups, report, buckets, back_up, members=None):
    """Make the source project with all its parts; see `Source` for the arguments.

    Returns True if this call made any of it; raises what a part failed by.
    """
    source = Source(socket, fleet, backups, report, buckets, back_up, members)
    source.prepare()
    before = source.record.parts.keys()
    for fault in source.ensure([part.name for part in fleet.parts]).values():
        raise fault
    return source.record.parts.keys() != before
