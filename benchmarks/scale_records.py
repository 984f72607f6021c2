"""Runs of as many drills as wanted, each made from a drill of reports/sample/ and unlike it.

What would differ in another drill differs: names, times, figures, checksums and tokens. So a
compressed page is no smaller than that of a real run.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from itertools import count, groupby, product
from pathlib import Path
from typing import Any

from fixtures.evidence.record import CellRecord, DrillRecord, RunRecord
from fixtures.evidence.writer import EVIDENCE_FILE, read_evidence

SAMPLE = Path(__file__).parents[1] / "reports" / "sample" / EVIDENCE_FILE
EVERY_SECONDS = 4.2
"""The pace of the sample: 62 drills in 4 min 23 s."""

TOKEN = re.compile(r"\b(?:(?=\d*[a-f])[0-9a-f]{8,}|[0-9A-HJKMNP-TV-Z]{26}|\d{24,})\b")
"""Checksums, serial numbers, ids of blocks."""

LENGTHS = {
    "phases": ("begin", "seconds"),
    "backup": ("seconds", "downtime"),
    "restore": ("seconds", "projected_rto"),
    "members": ("healthy", "verified"),
}
"""Field of a drill -> its fields that are seconds."""


@cache
def stock() -> RunRecord:
    """The sample run."""
    return read_evidence(SAMPLE)


def synthetic(drills: int, seed: int = 6) -> RunRecord:
    """A run of so many drills: the sample's fleet as often as it takes, under other names."""
    run = stock()
    made = list(records(drills, seed))
    services = list(dict.fromkeys(drill.service for drill in made))
    return run.model_copy(
        update={
            "drills": made,
            "services": services,
            "not_verified": list(_open(made, services)),
            "finished": run.begun + timedelta(seconds=EVERY_SECONDS * drills),
        }
    )


def records(drills: int, seed: int = 6) -> Iterator[DrillRecord]:
    """The drills of such a run, one at a time."""
    chance = random.Random(seed)  # noqa: S311 - figures of a benchmark, and no secret
    originals = [drill.model_dump(mode="json") for drill in stock().drills]
    fleets = -(-drills // len(originals))
    numbers = count()
    # As pytest has it: file by file, and in each file service by service.
    for _, group in groupby(originals, key=lambda one: (one["scenario"], one["origin"])):
        kinds = list(group)
        for fleet, original in product(range(fleets), kinds):
            number = next(numbers)
            if number < drills:
                yield _varied(original, fleet, number, chance)


def _open(made: list[DrillRecord], services: list[str]) -> Iterator[CellRecord]:
    """The cells that no drill answered."""
    done = {(drill.service, drill.scenario, drill.origin) for drill in made}
    columns = product(stock().scenarios, ("rehearsal", "existing"))
    for service, (scenario, origin) in product(services, list(columns)):
        if (service, scenario, origin) not in done:
            why = "the fleet file promises no such recovery"
            cell = {"service": service, "scenario": scenario, "origin": origin, "reason": why}
            yield CellRecord(**cell, promised=False)


def _varied(
    original: dict[str, Any], fleet: int, number: int, chance: random.Random
) -> DrillRecord:
    """One drill on the fleet of this number: as the original, with all its figures its own."""
    service = original["service"]
    tokens: dict[str, str] = {}

    def other(found: re.Match[str]) -> str:
        # What is told in short elsewhere (`sha256 db8b35a498c1...`) stays the same thing.
        text, alphabet = found[0], "0123456789" if found[0].isdigit() else "0123456789abcdef"
        head = tokens.setdefault(text[:8], "".join(chance.choices(alphabet, k=64)))
        return head[: len(text)]

    def renamed(value: Any) -> Any:
        if isinstance(value, str):
            return TOKEN.sub(other, value).replace(service, f"{service}-{fleet:04d}")
        if isinstance(value, dict):
            return {key: renamed(item) for key, item in value.items()}
        return list(map(renamed, value)) if isinstance(value, list) else value

    drill = renamed(original)
    _stretch(drill, chance.uniform(0.7, 1.4))
    shift = timedelta(seconds=EVERY_SECONDS * number)
    drill["begun"] = (datetime.fromisoformat(original["begun"]) + shift).isoformat()
    if original["backup"]:
        drill["backup"]["taken_at"] = (
            datetime.fromisoformat(original["backup"]["taken_at"]) + shift
        ).isoformat()
    # A text of a reader's eyes must not have been changed into another verdict.
    return DrillRecord.model_validate({**drill, "verdict": original["verdict"]})


def _stretch(drill: dict[str, Any], factor: float) -> None:
    """Make all lengths of a drill longer, or shorter, by the same factor."""
    for field, lengths in LENGTHS.items():
        parts = drill[field] if isinstance(drill[field], list) else [drill[field] or {}]
        for part in parts:
            part.update({key: part[key] * factor for key in lengths if part.get(key) is not None})
    for key in ("rto", "rpo"):
        if drill[key] is not None:
            drill[key] *= factor
    if drill["restore"] and drill["restore"]["throughput"] is not None:
        drill["restore"]["throughput"] /= factor
