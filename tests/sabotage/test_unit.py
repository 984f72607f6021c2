"""A service that does not become healthy: the message has the reason, and no wait is in vain."""

import time

import pytest

import fixtures.recovery.service as verbs
from fixtures.errors import RecoveryFailed
from fixtures.recovery.drill import verdict_of
from fixtures.secrets import Secret

DROP_IN = "/etc/systemd/system/mosquitto.service.d/spoiled.conf"
PASSWORD = Secret("of-the-broker-in-its-log")


@pytest.fixture
def broker(healthy):
    """Mosquitto in the drill project, and a function that makes its unit die by a drop-in."""
    service = healthy("mosquitto")

    def spoil(restart):
        # printf of sh; systemd wants its own % doubled.
        said = f"printf 'pass {PASSWORD.reveal()}, and \\\\033[2Jgone\\\\n' >&2; exit 7"
        unit = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=simple\nExecStart=\n"
        settings = f'{unit}ExecStart=/bin/sh -c "{said}"\n{restart}\n'
        service.subject.close()
        service.instance.must_exec(["mkdir", "-p", DROP_IN.rpartition("/")[0]])
        service.instance.push(DROP_IN, settings.encode())
        service.instance.must_exec(["systemctl", "daemon-reload"])
        service.instance.must_exec(["systemctl", "restart", "mosquitto"], allowed=(0, 1))
        return service

    return spoil


def test_a_unit_that_has_failed_for_good_ends_the_wait(broker, monkeypatch):
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 120.0)
    service = broker("Restart=no")
    begun = time.monotonic()
    with pytest.raises(RecoveryFailed) as raised:
        service.wait_until_healthy()
    assert time.monotonic() - begun < verbs.HEALTHY_SECONDS / 4
    message = raised.value.message
    assert message.startswith("service mosquitto healthy: unit mosquitto has failed for good, last")
    for seen in ("ActiveState=failed", "Result=exit-code", "ExecMainStatus=7", "NRestarts=0"):
        assert seen in message
    assert "it logged last: " in message
    assert "\\x1b[2Jgone" in message, message
    assert "\x1b" not in message
    _, reason, _ = verdict_of(raised.value)
    assert PASSWORD.reveal() not in reason
    assert "ActiveState=failed" in reason


def test_a_unit_that_is_started_again_is_waited_for(broker, monkeypatch):
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 3.0)
    service = broker("Restart=always\nRestartSec=300ms")
    with pytest.raises(RecoveryFailed, match="not within 3 s") as raised:
        service.wait_until_healthy()
    assert "NRestarts=0" not in raised.value.message
    assert "NRestarts=" in raised.value.message
