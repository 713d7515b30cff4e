"""Days of simulated clusters: whatever goes wrong, the job ends, and ends right."""

import random

import pytest

from seppo.core.commands import Deliver, SendChunk
from seppo.core.events import ItemsDone, Policy, WorkerLost
from seppo.core.scheduler import Scheduler
from seppo.testing import Faults, SimulatedCluster, SimulationError

ROUGH = Faults(life=1.5, undead=0.5, rejoin=0.3, talk=0.7, silence=1.5, repeat=0.3)


def mixed_costs(rnd, n_items):
    """Items of all kinds: instant ones, ordinary ones, long ones."""
    kinds = [rnd.choice([0.0, 1e-6, 1e-4, 0.01, 0.1, 1.7]) for _ in range(3)]
    return [rnd.choice(kinds) * rnd.lognormvariate(0, 0.5) for _ in range(n_items)]


def rough_day(seed, **arguments):
    """A cluster whose size, items, options and faults are drawn from the seed."""
    rnd = random.Random(seed)
    n_items = rnd.choice([0, 1, 2, 10, 80, 300])
    policy = Policy(
        chunksize=rnd.choice([None, None, 1, 7]),
        ordered=rnd.random() < 0.7,
        max_ahead=rnd.choice([1, 3, 1 << 20]),
        max_workers=rnd.choice([None, None, 1, 3]),
        retries_on_loss=10**9,  # no item is guilty
    )
    speeds = [rnd.choice([0.25, 1.0, 4.0]) for _ in range(50)]
    options = {
        "n_workers": rnd.choice([1, 2, 5, 12]),
        "seed": seed,
        "policy": policy,
        "speed": lambda number: speeds[number % 50],
        "latency": rnd.choice([0.0, 0.0002, 0.05]),
        "take": rnd.choice([0.0, 0.0, 0.02]),
        "reads_ahead": rnd.random() < 0.5,
        "faults": ROUGH,
        "max_steps": 60_000,
    }
    costs = mixed_costs(rnd, n_items)
    return SimulatedCluster(n_items, costs.__getitem__, **{**options, **arguments})


@pytest.mark.parametrize("block", range(10))
def test_every_item_is_delivered_once_whatever_goes_wrong(block):
    for seed in range(30 * block, 30 * block + 30):
        day = rough_day(seed)
        report = day.run()
        assert (report.n_delivered, report.failure) == (day.n_items, None)
        assert report.lost_items == ()


def test_nothing_runs_twice_when_nothing_goes_wrong():
    for seed in range(60):
        day = rough_day(seed, faults=Faults())
        assert day.run().n_runs == day.n_items


def test_the_same_seed_gives_the_same_day():
    assert rough_day(3).run() == rough_day(3).run()


def test_a_consumer_that_leaves_frees_every_worker():
    for seed in range(40):
        report = rough_day(seed, leave_after=seed % 5 + 1).run()
        assert report.failure is None


def test_one_bad_item_costs_one_item():
    for seed in range(20):
        faults = Faults(rejoin=0.05, deadly={17, 60})
        policy = Policy(retries_on_loss=2)
        day = SimulatedCluster(
            200, lambda index: 0.004, n_workers=5, seed=seed, faults=faults, policy=policy
        )
        report = day.run()
        assert report.n_delivered == 200
        assert sorted(report.lost_items) == [17, 60]


def test_a_job_fails_when_every_worker_is_gone_for_good():
    for seed in range(20):
        day = SimulatedCluster(500, lambda index: 0.5, seed=seed, faults=Faults(life=5.0))
        report = day.run()
        assert report.failure is not None
        assert report.failure.delivered == report.n_delivered
        assert 0 < report.failure.undone <= 500 - report.n_delivered
        assert len(report.failure.losses) == 4
        assert report.makespan > 20.0


def test_silent_workers_keep_only_what_they_have():
    faults = Faults(talk=1.0, silence=3.0)
    for seed in range(10):
        day = SimulatedCluster(500, lambda index: 0.02, n_workers=8, seed=seed, faults=faults)
        report = day.run()
        assert report.n_runs == 500
        assert report.makespan < report.bound + 2 * 3.0 + 1.0


# --- how well the time is used


@pytest.mark.parametrize(
    ("costs", "most"),
    [
        pytest.param([0.01] * 2000, 1.1, id="equal"),
        pytest.param([1e-5] * 50_000, 1.5, id="tiny"),
        pytest.param([0.0] * 1000 + [0.2] * 80, 1.2, id="instant, then slow"),
        pytest.param([1e-7] * 1000 + [3.0] * 16, 1.6, id="instant, then very slow"),
        pytest.param([0.2] * 80 + [1e-6] * 1000, 1.2, id="slow, then instant"),
        pytest.param([0.001 * i for i in range(400)], 1.1, id="ascending"),
    ],
)
def test_the_makespan_is_near_the_bound(costs, most):
    report = SimulatedCluster(len(costs), costs.__getitem__, n_workers=8).run()
    assert report.makespan / report.bound < most


@pytest.mark.parametrize("order", [list, sorted], ids=["random", "worst"])
def test_lognormal_costs_are_within_three_percent_of_the_bound(order):
    """As for 1,000 workers and 200,000 items, which take half a minute: 1.017 and 1.027.

    The bound can be reached only while the longest item is a few per cent of the whole:
    nobody knows beforehand which one that is.
    """
    draw = random.Random(7)
    costs = order([0.15 * draw.lognormvariate(0, 0.5) for _ in range(20_000)])
    report = SimulatedCluster(len(costs), costs.__getitem__, n_workers=100, audit_every=500).run()
    assert max(costs) < 0.04 * report.bound
    assert report.makespan / report.bound < 1.03


def test_a_fast_worker_does_more():
    day = SimulatedCluster(
        1000, lambda index: 0.02, n_workers=3, speed=lambda number: [1.0, 4.0, 0.2][number]
    )
    report = day.run()
    assert report.makespan / report.bound < 1.15


def test_tiny_items_travel_in_few_messages():
    report = SimulatedCluster(100_000, lambda index: 1e-6, n_workers=4, audit_every=100).run()
    assert report.n_messages < 500


@pytest.mark.parametrize("limit", [1, 2])
def test_max_workers_does_not_cost_messages(limit):
    costs = [0.15] * 60
    policy = Policy(max_workers=limit)
    report = SimulatedCluster(60, costs.__getitem__, n_workers=4, policy=policy).run()
    assert report.n_messages < 60 * 4
    assert report.makespan / (60 * 0.15 / limit) < 1.1


def test_a_thousand_workers():
    rnd = random.Random(1)
    costs = [rnd.lognormvariate(-2, 1) for _ in range(10_000)]
    faults = Faults(life=100.0, undead=0.5, rejoin=1.0)
    day = SimulatedCluster(
        10_000,
        costs.__getitem__,
        n_workers=1000,
        faults=faults,
        policy=Policy(retries_on_loss=10),
        audit_every=200,
    )
    report = day.run()
    assert report.n_delivered == 10_000
    assert report.makespan < 3 * report.bound


# --- the simulation finds mistakes


class ForgetsALostChunk(Scheduler):
    def _worker_lost(self, name, reason, now, commands):
        worker = self._workers.get(name)
        for attempt in list(worker.attempts.values() if worker else ()):
            self._end_attempt(attempt)
        super()._worker_lost(name, reason, now, commands)


class ForgetsTheRest(Scheduler):
    def _rest_returned(self, event, now):
        attempt = self._attempts.get(event.attempt)
        if attempt is not None:
            put_back, attempt.job.put_back = attempt.job.put_back, lambda *_, **__: None
            super()._rest_returned(event, now)
            attempt.job.put_back = put_back


class RunsTheRestTwice(Scheduler):
    def _rest_returned(self, event, now):
        attempt = self._attempts.get(event.attempt)
        super()._rest_returned(event, now)
        if attempt is not None and attempt.stop > attempt.position:
            attempt.job.put_back(attempt.position, attempt.stop)


class BelievesLateAnswers(Scheduler):
    """Counts what a lost worker says toward the newest attempt."""

    def handle(self, event, now):
        if isinstance(event, ItemsDone) and event.attempt not in self._attempts and self._attempts:
            number = max(self._attempts)
            event = ItemsDone(number, event.count, event.seconds, event.nbytes, event.payload)
        return super().handle(event, now)


class DeliversTwice(Scheduler):
    def handle(self, event, now):
        commands = super().handle(event, now)
        return [c for c in commands for _ in range(2 if isinstance(c, Deliver) else 1)]


class DeliversTwiceUnordered(DeliversTwice):
    def handle(self, event, now):
        ordered = any(job.policy.ordered for job in self._jobs.values())
        return (Scheduler if ordered else DeliversTwice).handle(self, event, now)


class DeliversOutOfOrder(Scheduler):
    def handle(self, event, now):
        commands = super().handle(event, now)
        deliveries = [c for c in commands if isinstance(c, Deliver)]
        return deliveries[::-1] + [c for c in commands if not isinstance(c, Deliver)]


class DeliversTheWrongItem(Scheduler):
    def handle(self, event, now):
        commands = super().handle(event, now)
        return [
            Deliver(c.job, c.index, c.count, c.payload) if isinstance(c, Deliver) else c
            for c in commands
        ]

    def _items_done(self, event, now, commands):
        attempt = self._attempts.get(event.attempt)
        if attempt is not None:  # its results are known by the wrong offset
            padded = ItemsDone(
                event.attempt, event.count, event.seconds, 0, range(1 << 40, 1 << 41)
            )
            super()._items_done(padded, now, commands)


class SendsToTheDead(Scheduler):
    def handle(self, event, now):
        commands = super().handle(event, now)
        if isinstance(event, WorkerLost):
            return [
                SendChunk(event.worker, c.attempt, c.job, c.start, c.stop)
                if isinstance(c, SendChunk)
                else c
                for c in commands
            ]
        return commands


class FillsWorkersUp(Scheduler):
    def _place(self, worker):
        super()._place(worker)
        self._half[worker.name] = worker


class IgnoresMaxAhead(Scheduler):
    def handle(self, event, now):
        for job in self._jobs.values():
            job.admitted = lambda job=job: job.offered - job.next_index
        return super().handle(event, now)


class NeverWakes(Scheduler):
    """Loses the head for good when a bound is reached."""

    def _assign(self, now, commands):
        if not any(job.next_index - job.taken >= 3 for job in self._jobs.values()):
            super()._assign(now, commands)


class FinishesEarly(Scheduler):
    def _finish_if_done(self, job, commands):
        job.reorder.released += 1
        super()._finish_if_done(job, commands)
        job.reorder.released -= 1


class KeepsAttemptsOfAClosedJob(Scheduler):
    def _close(self, number, commands):
        job = self._jobs.get(number)
        attempts = dict(self._attempts)
        super()._close(number, commands)
        if job is not None:
            self._attempts.update(attempts)


class FailsTooSoon(Scheduler):
    def _fail_when_alone(self, now, commands):
        workers, self._workers = self._workers, {}
        grace, self.grace = self.grace, -100.0 if now > 0.5 else 1e9
        try:
            super()._fail_when_alone(now, commands)
        finally:
            self._workers, self.grace = workers, grace


class Raises(Scheduler):
    def _worker_joined(self, name):
        raise ZeroDivisionError


def first_error(mutant):
    """Try seeds until one finds the mistake."""
    for seed in range(300):
        leave_after = 3 if seed % 4 == 0 else None
        day = rough_day(seed, scheduler=mutant(), leave_after=leave_after, max_steps=20_000)
        try:
            day.run()
        except SimulationError as error:
            return error
    return None


MUTANTS = {  # what the simulation says about them
    ForgetsALostChunk: "is nowhere",
    ForgetsTheRest: "is nowhere",
    RunsTheRestTwice: "is twice",
    BelievesLateAnswers: "delivers results of other items",
    DeliversTwice: "is out of order",
    DeliversTwiceUnordered: "delivers an item twice",
    DeliversOutOfOrder: "is out of order",
    DeliversTheWrongItem: "delivers results of other items",
    SendsToTheDead: "is for a worker that is not there",
    FillsWorkersUp: "holds more than two chunks",
    IgnoresMaxAhead: "is too far ahead",
    NeverWakes: "has not ended after",
    FinishesEarly: "finished with",
    KeepsAttemptsOfAClosedJob: "still counted as under way",
    FailsTooSoon: "failed though there are workers",
    Raises: "ZeroDivisionError",
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_mistake_is_found(mutant):
    error = first_error(mutant)
    assert error is not None
    assert MUTANTS[mutant] in error.what
    assert f"seed {error.seed}" in str(error)
    assert error.log


def test_the_error_of_a_seed_can_be_had_again():
    assert str(first_error(DeliversTwice)) == str(first_error(DeliversTwice))
