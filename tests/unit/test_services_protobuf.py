"""The wire formats: known bytes, round trips, and damaged files."""

from __future__ import annotations

import pytest
from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]
from hypothesis import given
from hypothesis import strategies as st

from fixtures.services.alertmanager import Notified, alert_hash, notifications
from fixtures.services.protobuf import delimited, message, write_request

ALERT = {"canary": "g1", "alertname": "AtlasDrill-g1"}


def log_entry(labels: dict[str, str]) -> bytes:
    """One entry of a notification log as Alertmanager writes it."""
    mesh = message("MeshEntry")
    expected = Notified.of(labels, receiver="sink", integration="webhook")
    mesh.entry.group_key = expected.group_key.encode()
    mesh.entry.receiver.group_name = "sink"
    mesh.entry.receiver.integration = "webhook"
    mesh.entry.firing_alerts.append(alert_hash(labels))
    mesh.entry.timestamp.seconds = 1_700_000_000
    mesh.expires_at.seconds = 1_800_000_000
    data = bytes(mesh.SerializeToString())
    return bytes(_VarintBytes(len(data))) + data


def test_a_write_request_has_the_bytes_of_the_specification() -> None:
    # prompb/types.proto by hand: 0a = field 1, length; 09 = field 1, double; 10 = field 2, varint.
    name = b"\x0a\x08__name__" + b"\x12\x01m"
    sample = bytes.fromhex("09000000000000f03f1001")
    series = b"\x0a" + bytes([len(name)]) + name + b"\x12" + bytes([len(sample)]) + sample
    expected = b"\x0a" + bytes([len(series)]) + series
    assert write_request([({"__name__": "m"}, [(1, 1.0)])]) == expected


@given(
    st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=4),
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)), max_size=4),
)
def test_a_write_request_survives_the_round_trip(
    labels: dict[str, str], samples: list[tuple[int, float]]
) -> None:
    request = message("WriteRequest")
    request.ParseFromString(write_request([(labels, samples)]))
    (series,) = request.timeseries
    assert [(one.name, one.value) for one in series.labels] == sorted(labels.items())
    assert [(one.timestamp, one.value) for one in series.samples] == samples


def test_a_notification_log_tells_whom_it_told_what() -> None:
    other = {"alertname": "Other", "canary": "g2"}
    log = notifications(log_entry(ALERT) + log_entry(other))
    expected = Notified.of(ALERT, receiver="sink", integration="webhook")
    assert expected.group_key == '{}:{alertname="AtlasDrill-g1", canary="g1"}'
    assert log[expected.group_key] == expected
    assert len(log) == 2


def test_an_empty_notification_log_is_no_fault() -> None:
    assert notifications(b"") == {}


def test_the_alert_is_part_of_what_is_compared() -> None:
    told = Notified.of(ALERT, receiver="sink", integration="webhook")
    changed = Notified(told.group_key, "sink", "webhook", 0, (told.firing[0] ^ 1,), ())
    assert changed.value != told.value


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_truncated_log_is_damaged(cut: int) -> None:
    with pytest.raises(ValueError, match=f"ends within a MeshEntry: {cut} bytes are missing"):
        notifications(log_entry(ALERT)[:-cut])


def test_a_log_that_ends_within_a_length_is_damaged() -> None:
    with pytest.raises(ValueError, match="ends within a length"):
        list(delimited(log_entry(ALERT) + b"\xff", "MeshEntry"))


def test_something_else_is_not_a_log() -> None:
    with pytest.raises(ValueError, match="no MeshEntry at byte 1"):
        notifications(b"\x05hello")
