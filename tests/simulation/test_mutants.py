"""Mistakes planted in the scheduler: the simulation finds each one within some seeds."""

from dataclasses import replace

import pytest
from days import hard_day, rough_day
from mutants import with_part
from simulated import SimulationError

from seppo.core import commands as do
from seppo.core.assignment import Assignment
from seppo.core.crew import Crew
from seppo.core.events import ItemsDone, ResultsTaken, WorkerLost
from seppo.core.ledger import Ledger
from seppo.core.losses import Losses
from seppo.core.recovery import Fate
from seppo.core.scheduler import Scheduler
from seppo.core.watch import Watch

SEEDS = 150  # within which a mistake must show


# --- losses


class ForgetsALostChunk(Losses):
    def worker_lost(self, event, now, commands):
        worker = self._ledger.crew.workers.get(event.worker)
        for attempt in list(worker.attempts.values() if worker else ()):
            self._ledger.end(attempt, now)
        super().worker_lost(event, now, commands)


class BlamesNeighbours(Losses):
    """Counts every item of the chunk that ran."""

    def _settle(self, attempt, start, stop, fate, lost, now, commands):
        if fate is Fate.RESEND:
            fate = Fate.TRIED
        super()._settle(attempt, start, stop, fate, lost, now, commands)


class NeverGivesUp(Losses):
    def _blame(self, job, index, lost, now, commands):
        self._ledger.put_back(job, index, index + 1, suspect=True)


class IgnoresBudgets(Losses):
    """Tries each item once more than is allowed."""

    def _blame(self, job, index, lost, now, commands):
        policy = job.policy
        job.policy = replace(policy, retries_on_loss=policy.retries_on_loss + 1)
        super()._blame(job, index, lost, now, commands)
        job.policy = policy


class RunsWhatMayHaveBegun(Losses):
    """Sends again what may have begun, though nothing may begin twice."""

    def _settle(self, attempt, start, stop, fate, lost, now, commands):
        if fate is Fate.BEGUN:
            fate = Fate.RESEND
        super()._settle(attempt, start, stop, fate, lost, now, commands)


# --- the rest of a chunk, and late answers


class ForgetsTheRest(Scheduler):
    def _rest_returned(self, event, now):
        attempt = self._attempts.get(event.attempt)
        if attempt is not None:
            items = attempt.job.items
            put_back, items.put_back = items.put_back, lambda *_, **__: None
            super()._rest_returned(event, now)
            items.put_back = put_back


class RunsTheRestTwice(Scheduler):
    def _rest_returned(self, event, now):
        attempt = self._attempts.get(event.attempt)
        super()._rest_returned(event, now)
        if attempt is not None and attempt.stop > attempt.position:
            attempt.job.items.put_back(attempt.position, attempt.stop)


class BelievesLateAnswers(Scheduler):
    """Counts what a lost worker says toward the newest attempt."""

    def handle(self, event, now):
        if isinstance(event, ItemsDone) and event.attempt not in self._attempts and self._attempts:
            number = max(self._attempts)
            event = ItemsDone(number, event.count, event.seconds, event.nbytes, event.payload)
        return super().handle(event, now)


# --- delivery


class DeliversTwice(Scheduler):
    def handle(self, event, now):
        commands = super().handle(event, now)
        return [c for c in commands for _ in range(2 if isinstance(c, do.Deliver) else 1)]


class DeliversTwiceUnordered(DeliversTwice):
    def handle(self, event, now):
        ordered = any(job.policy.ordered for job in self._jobs.values())
        return (Scheduler if ordered else DeliversTwice).handle(self, event, now)


class DeliversTheLoserToo(Ledger):
    """Delivers what a copy says though the original has said it."""

    def deliver(self, job, index, count, payload, commands):
        known = job.items.results.known
        if not known.missing(index, index + count):
            commands.append(do.Deliver(job.number, index, count, payload))
        super().deliver(job, index, count, payload, commands)

    def drop_twins(self, job, start, stop, now, commands, is_shadow=True):
        job.items.drop_waiting(start, stop)  # and does not cancel them


class DeliversOutOfOrder(Scheduler):
    def handle(self, event, now):
        commands = super().handle(event, now)
        deliveries = [c for c in commands if isinstance(c, do.Deliver)]
        return deliveries[::-1] + [c for c in commands if not isinstance(c, do.Deliver)]


class DeliversTheWrongItem(Ledger):
    def deliver(self, job, index, count, payload, commands):
        if isinstance(payload, range):
            payload = range(1 << 40, 1 << 41)
        super().deliver(job, index, count, payload, commands)


class FinishesEarly(Ledger):
    def finish_if_done(self, job, now, commands):
        job.items.results.released += 1
        super().finish_if_done(job, now, commands)
        job.items.results.released -= 1


class KeepsAttemptsOfAClosedJob(Ledger):
    def close(self, number, now, commands):
        attempts = dict(self.attempts)
        is_open = number in self.jobs
        super().close(number, now, commands)
        if is_open:
            self.attempts.update(attempts)


# --- counts


class CountsSilentWorkers(Ledger):
    """Leaves what a silent worker holds among what counts against ``max_workers``."""

    def hush(self, worker):
        self.crew.hush(worker)


class CountsResultsTwice(Scheduler):
    def handle(self, event, now):
        if isinstance(event, ResultsTaken):
            event = replace(event, count=2 * event.count)
        return super().handle(event, now)


# --- handing out


class SendsToTheDead(Scheduler):
    def handle(self, event, now):
        commands = super().handle(event, now)
        if isinstance(event, WorkerLost):
            return [
                do.SendChunk(event.worker, c.attempt, c.job, c.start, c.stop)
                if isinstance(c, do.SendChunk)
                else c
                for c in commands
            ]
        return commands


class SendsToTheDraining(Crew):
    def place(self, worker):
        draining, worker.is_draining = worker.is_draining, False
        super().place(worker)
        worker.is_draining = draining


class FillsWorkersUp(Crew):
    def place(self, worker):
        super().place(worker)
        first = worker.first
        if first is not None:  # also the third, the fourth ...
            worker.half_of = first.job.number
            self.half.setdefault(worker.half_of, {})[worker.name] = worker


class IgnoresMaxAhead(Scheduler):
    def handle(self, event, now):
        for job in self._jobs.values():
            items = job.items
            items.admitted = lambda n, items=items: items.offered - items.next_index
        return super().handle(event, now)


class NeverWakes(Assignment):
    """Loses the head for good when a bound is reached."""

    def look(self, now, commands):
        if not any(
            job.items.next_index - job.items.taken >= 3 for job in self._ledger.jobs.values()
        ):
            super().look(now, commands)


# --- silence and stragglers


class NeverCopies(Watch):
    def look(self, now, commands):
        pass


class CopiesAgainAndAgain(Watch):
    def _may_copy(self, job, attempt):
        attempt.is_shadow, shadow = False, attempt.is_shadow
        job.incidents.copied.clear()
        may = super()._may_copy(job, attempt)
        attempt.is_shadow = shadow
        return may


class CopiesWhatMustNotBegin(Watch):
    def _move(self, attempt, may_run):
        policy = attempt.job.policy
        duplicate = policy.duplicate
        policy.__dict__["duplicate"] = True
        super()._move(attempt, may_run)
        policy.__dict__["duplicate"] = duplicate


class NeverAsksForAnEnd(Watch):
    def _wait_for(self, worker, now, commands):
        return None


class ForgetsWhatASilentWorkerHas(Watch):
    def _move(self, attempt, may_run):
        if attempt.job.policy.duplicate:
            self._ledger.shadow(attempt)


# --- ends


class FailsTooSoon(Scheduler):
    def handle(self, event, now):
        if now > 0.5:
            for job in self._jobs.values():
                self._losses.fail(job, now, commands := [])
                return commands
        return super().handle(event, now)


class Raises(Crew):
    def join(self, name, now):
        raise ZeroDivisionError


class OfLedger(Scheduler):
    """A scheduler whose crew has mistakes."""

    kind = Crew

    def __init__(self, grace=20.0):
        super().__init__(grace)
        self._ledger.crew.__class__ = self.kind


def with_crew(kind):
    return type(kind.__name__, (OfLedger,), {"kind": kind})


MUTANTS = {  # what the simulation says about them
    with_part("_losses", ForgetsALostChunk): "is nowhere",
    with_part("_losses", BlamesNeighbours): "is innocent",
    with_part("_losses", NeverGivesUp): "has not ended after",
    with_part("_losses", IgnoresBudgets): "times",
    with_part("_losses", RunsWhatMayHaveBegun): "a second time",
    ForgetsTheRest: "is nowhere",
    RunsTheRestTwice: "is twice",
    BelievesLateAnswers: "delivers results of other items",
    DeliversTwice: "is out of order",
    DeliversTwiceUnordered: "delivers an item twice",
    with_part("_ledger", DeliversTheLoserToo): ("is out of order", "delivers an item twice"),
    DeliversOutOfOrder: "is out of order",
    with_part("_ledger", DeliversTheWrongItem): "delivers results of other items",
    with_part("_ledger", FinishesEarly): "finished with",
    with_part("_ledger", KeepsAttemptsOfAClosedJob): "still counted as under way",
    with_part("_ledger", CountsSilentWorkers): "instead of",
    CountsResultsTwice: "are out of order",
    SendsToTheDead: "is for a worker that is not there",
    with_crew(SendsToTheDraining): "is for a worker that drains",
    with_crew(FillsWorkersUp): "holds more than two chunks",
    IgnoresMaxAhead: "is too far ahead",
    with_part("_assignment", NeverWakes): ("has not ended after", "nothing will ever happen"),
    with_part("_watch", NeverCopies): ("has not ended after", "nothing will ever happen"),
    with_part("_watch", CopiesAgainAndAgain): ("is run by", "is twice"),
    with_part("_watch", CopiesWhatMustNotBegin): "a second time",
    with_part("_watch", NeverAsksForAnEnd): ("has not ended after", "nothing will ever happen"),
    with_part("_watch", ForgetsWhatASilentWorkerHas): "is nowhere",
    FailsTooSoon: "failed though there are workers",
    with_crew(Raises): "ZeroDivisionError",
}


def errors(mutant):
    """Give what each of some days says about a mutant."""
    for seed in range(SEEDS):
        leave_after = 3 if seed % 4 == 0 else None
        for day in (rough_day, hard_day):
            arguments = {"scheduler": mutant(), "leave_after": leave_after, "max_steps": 20_000}
            try:
                day(seed, **arguments).run()
            except SimulationError as error:
                yield error


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planted_mistake_is_found(mutant):
    says = MUTANTS[mutant]
    says = (says,) if isinstance(says, str) else says
    found = next((e for e in errors(mutant) if any(text in e.what for text in says)), None)
    assert found is not None
    assert f"seed {found.seed}" in str(found)
    assert found.log


def test_no_mistake_is_found_where_none_was_planted():
    """So that what is found above was planted; the bound on steps is for mutants alone."""
    assert [e.what for e in errors(Scheduler) if "has not ended" not in e.what] == []


def test_the_error_of_a_seed_can_be_had_again():
    assert str(next(errors(DeliversTwice))) == str(next(errors(DeliversTwice)))
