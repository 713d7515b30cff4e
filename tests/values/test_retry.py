"""Trying again where an item runs."""

import os
import pickle
import time

import pytest

from seppo.errors import ConfigurationError
from seppo.values.outcome import Interrupted
from seppo.values.retry import Retry, Retrying, retrying


class Flaky:
    """Raises what it is given, one after the other; then returns its argument."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return x


def test_a_value_ends_the_tries():
    flaky = Flaky(OSError(), OSError())
    assert Retrying(flaky, Retry(5, backoff=0))(7) == 7
    assert flaky.calls == 3


def test_the_last_exception_comes_out_and_says_how_often_it_was_tried():
    flaky = Flaky(*[OSError(n) for n in range(9)])
    with pytest.raises(OSError, match="2") as caught:
        Retrying(flaky, Retry(2, backoff=0))(7)
    assert flaky.calls == 3
    assert caught.value.__notes__ == ["seppo: tried 3 times"]


def test_other_exceptions_are_not_tried_again():
    flaky = Flaky(ValueError("no"), OSError())
    with pytest.raises(ValueError, match="no"):
        Retrying(flaky, Retry(2, on=(OSError,), backoff=0))(7)
    assert flaky.calls == 1


@pytest.mark.parametrize("error", [Interrupted(), KeyboardInterrupt()])
def test_an_interruption_is_not_tried_again_whatever_was_asked_for(error):
    flaky = Flaky(error, error)
    with pytest.raises(type(error)):
        Retrying(flaky, Retry(2, on=(BaseException,), backoff=0))(7)
    assert flaky.calls == 1


def test_a_child_that_the_function_has_forked_does_not_try_again(monkeypatch):
    flaky = Flaky(KeyError(), KeyError())
    pids = iter([1, 2])
    monkeypatch.setattr(os, "getpid", lambda: next(pids))
    with pytest.raises(KeyError):
        Retrying(flaky, Retry(2, backoff=0))(7)
    assert flaky.calls == 1


def test_pauses_double_up_to_a_minute(monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with pytest.raises(KeyError):
        Retrying(Flaky(*[KeyError()] * 99), Retry(5, backoff=10.0))(7)
    assert pauses == [10.0, 20.0, 40.0, 60.0, 60.0]


def test_it_travels_and_is_called_like_the_function():
    again = pickle.loads(pickle.dumps(Retrying(pow, Retry(3, (OSError,), 0.5))))
    assert again(2, 5) == 32
    assert (again.func, again.retry) == (pow, Retry(3, (OSError,), 0.5))
    assert again.__qualname__ == "pow"


def test_nothing_is_wrapped_where_nothing_is_tried_again():
    assert retrying(abs, Retry(0)) is abs


def test_a_single_class_may_stand_for_itself():
    assert Retry(1, on=OSError).on == (OSError,)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"times": -1}, ConfigurationError),
        ({"times": 1.5}, TypeError),
        ({"times": True}, TypeError),
        ({"times": 1, "backoff": -1.0}, ConfigurationError),
        ({"times": 1, "on": ("OSError",)}, TypeError),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, error):
    with pytest.raises(error):
        Retry(**arguments)
