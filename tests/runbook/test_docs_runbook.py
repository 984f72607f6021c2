"""docs/runbook.md, whole: each section for each service that it covers, without a finding."""

import pytest

from drills.test_runbook import test_section_makes_backups_and_prunes_them as make_and_prune
from drills.test_runbook import test_section_recovers as recover
from fixtures.evidence.judge import judge_audit
from fixtures.evidence.record import AuditVerdict

pytestmark = pytest.mark.runbook


def test_every_section_recovers_without_a_finding(drill, section):
    recover(drill, section)
    assert not drill.findings


@pytest.mark.audit("runbook")
def test_the_script_makes_and_prunes(audit, nightly):
    make_and_prune(audit, nightly)
    record = audit.record()
    assert [check for check in record.checks if check.outcome != "held"] == []
    assert judge_audit(record) is AuditVerdict.IN_ORDER


WORSE = """\
# Worse

## By cron

```bash
#!/bin/bash
# /usr/local/bin/save.sh
place=/backup/$(date +%Y%m%d)
mkdir -p "$place"
incus storage volume snapshot local {other}01-data "daily-$(date +%Y%m%d)" 2>/dev/null || true
incus storage volume snapshot create local step-ca01-data "daily-$(date +%Y%m%d)"
incus storage volume export local step-ca01-data "$place/ca.tar.gz"
gpg --batch --pinentry-mode loopback --passphrase-file /etc/atlas-backup.passphrase \\
  --symmetric --cipher-algo AES256 "$place/ca.tar.gz"
rm "$place/ca.tar.gz"
find /backup -name 'nothing-*' -mtime +7 -delete
```

```
0 2 * * * /usr/local/bin/save.sh >>/var/log/save.log 2>&1
```
"""


@pytest.mark.audit("runbook")
def test_a_script_that_makes_half_and_prunes_nothing(audit, nightly, performance):
    (other,) = {service.spec.name for service in nightly.services} - {"step-ca"}
    text = WORSE.replace("{other}", other)
    nightly.by.runbook = performance(text, nightly.by.drill).runbook
    nightly.section = nightly.by.runbook.section("By cron")
    nightly.perform()
    checks = list(nightly.checks())
    broken = {check.name: check for check in checks if check.outcome == "broken"}
    # What is broken here is what was to be seen.
    audit.take(check for check in checks if check.outcome == "held")
    assert broken[f"{other}: snapshot made"].detail.startswith("none in ")
    assert 'unknown command "local"' in broken[f"{other}: snapshot made"].detail
    assert "line 10" in broken[f"{other}: snapshot made"].detail
    assert f"{other}: tarball made" in broken
    assert "still there: daily-" in broken["step-ca: snapshot pruned"].detail
    assert "and still there: backup/" in broken["step-ca: encrypted-tarball pruned"].detail
    found = [each.what for each in nightly.by.drill.findings]
    assert any("an export of volume step-ca01-data" in what for what in found), found
