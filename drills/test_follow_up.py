"""Runbook, "Post-Recovery Verification": what reviews of earlier drills decided, and its dates.

Loses:  nothing: the reviews below the directory of reports are read (`./run review`).
Needs:  at least one review; without any there is no such audit.
Proves: each repair that was promised, and each acceptance, is within its date, unless a green drill
        has closed it. Whether a repair was made, only the next drill shows.
"""

import pytest

pytestmark = pytest.mark.audit("follow-up")


def test_no_open_action_is_overdue(audit, follow_up):
    """Each open action, compared with its date."""
    audit.take(follow_up.in_time())
