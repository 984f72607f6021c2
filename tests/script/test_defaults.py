"""What `docs/atlas-backup.sh` backs up by default is what `fleets/atlas.yaml` promises."""

from __future__ import annotations

import re

from fixtures.fleet.load import load_fleet
from fixtures.fleet.schedule import retention_seconds
from tests.script.conftest import SCRIPT

ROOT = SCRIPT.parents[1]


def array(name: str) -> list[str]:
    found = re.search(rf"^{name}=\((.*?)\)(?: #.*)?$", SCRIPT.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return re.findall(r'"([^"]+)"', found[1])


def days(retention: str) -> int:
    return round(retention_seconds(retention) / 86400)


def test_services_are_backed_up_as_the_fleet_file_says() -> None:
    fleet = load_fleet(ROOT / "fleets" / "atlas.yaml")
    wanted = []
    for spec in fleet.services:
        regimes = spec.backups
        keep = days(regimes["snapshot"].retention)
        words = [spec.instance, spec.volumes[0].name]
        words.append(f"snapshot={regimes['snapshot'].consistency}/{keep}")
        # Plaintext beside an encrypted export would give away what that one hides.
        kind = "encrypted" if "encrypted-tarball" in regimes else "tarball"
        regime = regimes["encrypted-tarball" if kind == "encrypted" else "tarball"]
        assert (regime.compression, regime.retention or "") in (("zstd", ""), ("zstd", "4w"))
        words.append(f"{kind}={regime.consistency}/{keep}")
        if spec.kind == "prometheus":
            words.append(f"tsdb={regimes['native'].consistency}/{keep}")
        wanted.append(" ".join([*words, f"unit={spec.unit}"]))
    assert array("SERVICES") == wanted


def test_buckets_are_backed_up_as_the_fleet_file_says() -> None:
    fleet = load_fleet(ROOT / "fleets" / "atlas.yaml")
    assert array("BUCKETS") == [
        f"{one.pool} {one.name} {days(one.backups['native'].retention)}" for one in fleet.buckets
    ]
