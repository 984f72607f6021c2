"""`wait_until` on an injected clock: three minutes of waiting in no time."""

import pytest

from fixtures.clock import NotYet, wait_until
from fixtures.errors import RecoveryFailed, WrongData


class Time:
    """A clock that sleeping moves."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds

    def clock(self):
        return self.now


@pytest.fixture
def time():
    return Time()


def wait(look, time, **options):
    options = {"label": "service x healthy", "timeout": 180, "poll": 0.5, **options}
    return wait_until(look, sleep=time.sleep, clock=time.clock, **options)


def test_it_returns_what_it_saw(time):
    answers = iter([NotYet("refused"), NotYet("refused"), "ready"])

    def look():
        answer = next(answers)
        if isinstance(answer, NotYet):
            raise answer
        return answer

    assert wait(look, time) == "ready"
    assert time.now == 1.0


def test_it_never_gives_up_in_silence(time):
    def look():
        raise NotYet("connection refused")

    with pytest.raises(RecoveryFailed) as told:
        wait(look, time)
    assert told.value.message == (
        "service x healthy: not within 180 s (361 attempts in 180.0 s), "
        "last answer: connection refused"
    )


def test_any_other_error_is_fatal_at_once(time):
    def look():
        raise WrongData("another CA")

    with pytest.raises(WrongData):
        wait(look, time)
    assert time.now == 0
