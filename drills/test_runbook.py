"""Runbook, all of it: would it work if somebody typed it at 3 a.m.?

Loses:  nothing: the runbook is read, and nothing of it is run.
Needs:  the clients that it names (asked for their help), and the source project, which is read.
Proves: each `incus`, `tofu`, `gpg`, `tar` and `make` command exists with its flags and as many
        arguments in what is installed; what it names is there; no error is hidden, no secret is in
        sight, and the order of steps is one that Incus takes.
"""

import pytest

pytestmark = pytest.mark.audit("runbook")


def test_every_command_of_the_runbook(audit, runbook):
    """Every fenced shell block is parsed and compared."""
    audit.take(runbook.examined())
