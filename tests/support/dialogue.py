"""Words for dialogues with the scheduler: what happened, when, and what it answers."""

from seppo.core.commands import CancelAttempt, Deliver, KillWorker, LostItem, RecallChunk, SendChunk
from seppo.core.events import (
    InputEnded,
    InputOffered,
    ItemsDone,
    JobOpened,
    Policy,
    Wakeup,
    WorkerJoined,
)
from seppo.core.scheduler import Scheduler


def scheduler_with(*workers, **arguments):
    s = Scheduler(**arguments)
    for worker in workers:
        assert s.handle(WorkerJoined(worker), now=0.0) == []
    return s


def open_job(s, n_items, job=1, now=0.0, ended=True, **policy):
    """Open a job and offer its items; return what is sent at once."""
    assert s.handle(JobOpened(job, Policy(**policy)), now) == []
    commands = s.handle(InputOffered(job, n_items), now)
    return commands + (s.handle(InputEnded(job), now) if ended else [])


def done(s, attempt, count=1, seconds=0.1, now=1.0, nbytes=0, payload="r"):
    return s.handle(ItemsDone(attempt, count, seconds, nbytes, payload), now)


def sent(commands):
    return [(c.worker, c.start, c.stop) for c in commands if isinstance(c, SendChunk)]


def delivered(commands):
    return [(c.index, c.count) for c in commands if isinstance(c, Deliver)]


def recalled(commands):
    return [(c.worker, c.attempt) for c in commands if isinstance(c, RecallChunk)]


def killed(commands):
    return [(c.worker, c.attempt) for c in commands if isinstance(c, KillWorker)]


def cancelled(commands):
    return [(c.worker, c.attempt) for c in commands if isinstance(c, CancelAttempt)]


def lost(commands):
    return [
        (c.index, c.payload)
        for c in commands
        if isinstance(c, Deliver) and isinstance(c.payload, LostItem)
    ]


def wait(s, now, until):
    """Let time pass, with a wakeup whenever one is due; return all commands, and when."""
    said = []
    while (due := s.next_deadline()) is not None and due <= until:
        now = max(now, due)
        said += [(now, command) for command in s.handle(Wakeup(), now)]
    return said


def commands_of(said):
    return [command for _, command in said]


def next_sent(s):
    """Let time pass until something is sent, and return that."""
    for _ in range(100):
        if found := sent(s.handle(Wakeup(), s.next_deadline())):
            return found
    raise AssertionError("nothing is ever sent")
