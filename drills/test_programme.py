"""Runbook, "Backup Verification" and "Benchmark": was it tested, and does the test still count?

Loses:  nothing: the history of earlier runs is read, and nothing is contacted. It takes seconds.
Needs:  the history of runs, and the fleet file.
Proves: each recovery that the fleet file promises was proven on this target within the time of its
        programme, a red drill was tested again in time, and what was proven is still as it was: the
        service's version, its entry in the fleet file, its image, Incus' major version and the
        runbook's section. It proves no recovery.
"""

import pytest

pytestmark = pytest.mark.audit("programme")


def test_every_proof_still_counts(audit, programme):
    """Each promised recovery, compared with its newest proof."""
    audit.take(programme.proofs())
