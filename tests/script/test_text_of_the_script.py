"""The text of `docs/atlas-backup.sh`: shellcheck finds nothing, and it promises what Atlas does."""

import re
import subprocess

import pytest

from fixtures.fleet.load import load_fleet
from fixtures.fleet.schedule import retention_seconds
from tests.script.conftest import SCRIPT

ROOT = SCRIPT.parents[1]


def array(name):
    found = re.search(rf"^{name}=\((.*?)\)(?: #.*)?$", SCRIPT.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return re.findall(r'"([^"]+)"', found[1])


def days(retention):
    return round(retention_seconds(retention) / 86400)


def test_all_is_backed_up_as_the_fleet_file_says():
    fleet = load_fleet(ROOT / "fleets" / "atlas.yaml")
    wanted = []
    for spec in fleet.services:
        regimes = spec.backups
        keep = days(regimes["snapshot"].retention)
        words = [spec.instance, spec.volumes[0].name]
        words.append(f"snapshot={regimes['snapshot'].consistency}/{keep}")
        # Plaintext next to an encrypted export would give away what that one hides.
        kind = "encrypted" if "encrypted-tarball" in regimes else "tarball"
        regime = regimes["encrypted-tarball" if kind == "encrypted" else "tarball"]
        assert regime.compression == "zstd"
        words.append(f"{kind}={regime.consistency}/{days(regime.retention)}")
        if spec.kind == "prometheus":
            words.append(f"tsdb={regimes['native'].consistency}/{keep}")
        wanted.append(" ".join([*words, f"unit={spec.unit}"]))
    assert array("SERVICES") == wanted
    assert array("BUCKETS") == [
        f"{bucket.pool} {bucket.name} {days(bucket.backups['native'].retention)}"
        for bucket in fleet.buckets
    ]


@pytest.mark.parametrize("line", ["", "rm -rf $RUN\n", "foo() { local x=$(false); }\n"])
def test_shellcheck_finds_nothing_and_would_find_it(line):
    argv = ["shellcheck", "--severity=style", "-"]
    done = subprocess.run(argv, input=SCRIPT.read_text() + line, capture_output=True, text=True)
    assert bool(done.stdout) == bool(line), done.stdout


def test_it_dies_of_what_it_does_not_expect():
    text = SCRIPT.read_text()
    assert "set -Eeuo pipefail" in text
    assert "--force" not in text
