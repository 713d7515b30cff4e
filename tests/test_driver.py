"""The driver on an engine that fails: callers learn of it, and nothing is left behind."""

import threading

import pytest
from cluster import wait_until

from seppo.core.events import Policy
from seppo.driver import Broken, Driver
from seppo.errors import InternalError


class FailingEngine:
    """Fails as soon as it is used."""

    n_places = 1

    def __init__(self):
        self.is_used = threading.Event()
        self.is_closed = False

    def open_job(self, job, source):
        return 1

    def wait(self, timeout):
        self.is_used.wait()
        raise ZeroDivisionError("a fault of ours")

    def wake(self):
        self.is_used.set()

    def set_active(self, active):
        pass

    def close(self):
        self.is_closed = True
        raise OSError("it cannot be closed either")


class Source:
    def clear(self):
        pass


@pytest.fixture
def engine():
    return FailingEngine()


def test_jobs_of_a_driver_that_fails_end_and_its_engine_is_closed(engine, caplog):
    driver = Driver(engine)
    outcomes = []
    driver.open(Source(), outcomes.append, Policy())
    wait_until(lambda: engine.is_closed)
    (broken,) = {type(outcome) for outcome in outcomes}
    assert broken is Broken
    assert isinstance(outcomes[0].error, InternalError)
    assert "please report" in str(outcomes[0].error)
    assert isinstance(driver.broken, InternalError)
    assert "the driver has failed" in caplog.text


def test_a_job_that_is_opened_afterwards_ends_at_once(engine):
    driver = Driver(engine)
    engine.wake()
    wait_until(lambda: driver.broken)
    outcomes = []
    driver.open(Source(), outcomes.append, Policy())
    assert [type(outcome) for outcome in outcomes] == [Broken]
