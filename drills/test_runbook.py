"""Runbook, each of its sections: typed by bash as it stands, after a real loss.

Loses:  what the section is for: the data of the service, its instance, or the whole fleet, in the
        drill project of a lab that is thrown away.
Needs:  `runbook:` in the fleet file, which says what each section recovers from.
Proves: the words of the runbook bring the service back, healthy within its target, with every
        canary of its backup; and what was seen while they ran: errors that they hide, secrets in
        arguments of processes, plaintext on the disk, services left stopped, files left behind.
"""

import pytest

pytestmark = pytest.mark.runbook


def test_section_recovers(drill, section):
    """Every command below the heading is run; nothing of it is repaired."""
    with drill.phase("destroy"):
        section.lose()
    with drill.phase("restore"):
        section.perform()
    with drill.phase("start"):
        section.must_be_running()
    with drill.phase("healthy"):
        section.wait_until_healthy()
    with drill.phase("verified"):
        section.must_be_back()


@pytest.mark.audit("runbook")
def test_section_makes_backups_and_prunes_them(audit, nightly):
    """What a timer starts, in some nights: what it makes, keeps, and removes in time."""
    nightly.perform()
    audit.take(nightly.checks())
