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
        restarted = "systemctl daemon-reload; systemctl restart mosquitto"
        service.instance.must_exec(["sh", "-c", restarted], allowed=(0, 1))
        return service

    return spoil


def test_a_unit_that_has_failed_for_good_ends_the_wait(broker, monkeypatch):
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 120.0)
    service, begun = broker("Restart=no"), time.monotonic()
    with pytest.raises(RecoveryFailed) as raised:
        service.wait_until_healthy()
    assert time.monotonic() - begun < verbs.HEALTHY_SECONDS / 4
    message = raised.value.message
    assert message.startswith("service mosquitto healthy: unit mosquitto has failed for good, last")
    seen = ("ActiveState=failed", "Result=exit-code", "ExecMainStatus=7", "NRestarts=0")
    seen += ("it logged last: ", "\\x1b[2Jgone")
    assert [words for words in seen if words not in message] == [], message
    assert "\x1b" not in message
    _, reason, _ = verdict_of(raised.value)
    assert "ActiveState=failed" in reason and PASSWORD.reveal() not in reason


def test_a_unit_that_is_started_again_is_waited_for(broker, monkeypatch):
    monkeypatch.setattr(verbs, "HEALTHY_SECONDS", 3.0)
    service = broker("Restart=always\nRestartSec=300ms")
    with pytest.raises(RecoveryFailed, match=r"not within 3 s(?s:.*)NRestarts=[1-9]"):
        service.wait_until_healthy()
