"""Losses in plain words: nothing is left out, and a hash never stands where a file is meant."""

from __future__ import annotations

import pytest

from fixtures.evidence.record import MemberRecord
from fixtures.evidence.wording import losses_of, losses_words, plain
from tests.unit.test_evidence_judge import drill


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("lost: silence a: b", "lost", "silence a: b"),
        ("lost: sha256 of chunks/1", "lost", "file chunks/1"),
        ("replaced: sha256 of ca.json: was 1, is 2", "made anew", "file ca.json (made anew)"),
        ("replaced: root: was old, is new", "made anew", "root (made anew; was old, is new)"),
        (
            f"replaced: root: was {'a' * 64}, is {'b' * 64}",
            "made anew",
            f"root (made anew; was {'a' * 12}…, is {'b' * 12}…)",
        ),
        ('replaced: keys: was [{"a": 1}], is [{"a": 2}]', "made anew", "keys (made anew)"),
        ("replaced: something", "made anew", "something (made anew)"),
        ("not in this kind of backup: user x", "never in such a backup", "user x"),
        ("in words that nobody foresaw", "not brought back", "in words that nobody foresaw"),
    ],
)
def test_a_loss_in_plain_words(text: str, kind: str, words: str) -> None:
    assert plain(text) == (kind, words)


def test_no_loss_is_left_out_by_folding() -> None:
    names = [f"dashboard {number}" for number in range(20)]
    (part,) = losses_of(drill(losses=[f"lost: {name}" for name in names]))
    assert (len(part.open), len(part.folded)) == (8, 12)
    assert part.open + part.folded == names


def test_one_more_than_shown_is_not_folded() -> None:
    (part,) = losses_of(drill(losses=[f"lost: {number}" for number in range(9)]))
    assert (len(part.open), part.folded) == (9, [])


def test_a_fleet_s_losses_are_told_service_by_service() -> None:
    members = [MemberRecord(service="loki"), MemberRecord(service="step-ca")]
    lost = ["step-ca: lost: token", "loki: lost: stream", "step-ca: replaced: root: was 1, is 2"]
    fleet = drill(members=members, losses=lost)
    assert [(part.service, part.words) for part in losses_of(fleet)] == [
        ("step-ca", "1 lost, 1 made anew"),
        ("loki", "1 lost"),
    ]
    assert losses_words(fleet) == "2 lost, 1 made anew, of 2 services"


def test_no_losses_are_no_words() -> None:
    assert losses_of(drill()) == []
    assert losses_words(drill()) == ""
