"""Runbook, any recovery: by a person, at a shell in the lab, after a real loss.

Loses:  what they ask for: the data of a service or of several, a bucket, or the whole fleet, in the
        drill project of a lab that is thrown away.
Needs:  `./run by-hand SCENARIO SERVICE`; without it this file makes no drill.
Proves: this person brings it back, healthy within its target and with every canary of its backup,
        by the runbook or, with --blind, without it. The time counts from the loss, wrong turns
        included; what they have typed is on record.
"""

import pytest

pytestmark = pytest.mark.runbook


def test_person_recovers(drill, person):
    """They type until all of it is verified, or give up."""
    with drill.phase("destroy"):
        person.lose()
    person.recover()
