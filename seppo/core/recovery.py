"""Recovery from losses, silence and stragglers: pure decisions.

A worker was lost. What becomes of the items that it held, oldest chunk first::

    the verdict says                  its item        before it      after it
    ----------------                  -------         ---------      --------
    exactly one item ran              tried           sent again     sent again
    one of these items ran            run alone       sent again     sent again
    none of ours ran                  -               sent again     sent again
    nothing (nobody can tell)         run alone, or tried if it was alone

*Tried* counts: when an item has lost ``1 + retries_on_loss`` workers it is given up.
*Run alone* does not count: it makes the next verdict exact. *Before it* are items that were
done, but whose results were lost with the worker.

A job that allows neither retries nor copies begins each item at most once: there, whatever
may have begun is given up, and only what cannot have begun is sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from seppo.core.events import Policy, Verdict

STRAGGLING_SECONDS = 2.0  # an item that runs for less is never copied
STRAGGLING_TIMES = 3.0  # times the median of its like, which it must exceed as well
PROBE_SECONDS = 2.0  # without a sign of a worker, until it is asked for one; they come at 1 s
LONGEST_PROBE = 10.0  # seconds between questions to a worker that is inside a long item
OVERDUE_SECONDS = 2.0  # a worker that has not answered by then is silent; 0.5 s is usual
KILL_SECONDS = 20.0  # of silence, before the supervisor is asked to end the process
MISHAPS = 10  # losses with nobody to blame, until the items at hand are suspected after all


class Fate(Enum):
    """What becomes of an item whose worker was lost."""

    RESEND = auto()  # it is innocent: an ordinary item again
    ALONE = auto()  # it may be guilty: run alone, not counted
    TRIED = auto()  # it was running: counted
    TIMED_OUT = auto()  # it was running for too long: given up
    BEGUN = auto()  # it may have begun, and must not begin twice: given up


@dataclass(frozen=True)
class Held:
    """What a lost worker held of one attempt: items ``start`` to ``stop`` without a result."""

    attempt: int
    start: int
    stop: int
    policy: Policy


@dataclass(frozen=True)
class Piece:
    """Items of an attempt that share their fate."""

    attempt: int
    start: int
    stop: int
    fate: Fate


def is_at_most_once(policy: Policy) -> bool:
    """Whether no item of the job may begin a second time."""
    return policy.retries_on_loss == 0 and not policy.duplicate


def judge(held: Sequence[Held], verdict: Verdict | None) -> list[Piece]:
    """Return what becomes of the items that a lost worker held.

    Args:
        held: Its attempts, in the order of sending: only the first can have been running,
            unless results were lost on the way.
        verdict: What is known of its end; None if nothing is.

    >>> held = [Held(1, 10, 20, Policy()), Held(2, 20, 30, Policy())]
    >>> [(p.start, p.stop, p.fate.name) for p in judge(held, Verdict("SIGSEGV", 1, 12, 13))]
    [(10, 12, 'RESEND'), (12, 13, 'TRIED'), (13, 20, 'RESEND'), (20, 30, 'RESEND')]
    """
    pieces: list[Piece] = []
    numbers = [each.attempt for each in held]
    guilty = verdict.attempt if verdict is not None else None
    # Where the one that ran is: those before it are done, those behind it have not begun.
    at = numbers.index(guilty) if guilty in numbers else None
    for position, each in enumerate(held):
        if verdict is None:
            fate = Fate.RESEND
            if position == 0:
                fate = Fate.TRIED if each.stop - each.start == 1 else Fate.ALONE
            cuts = [(each.start, each.stop, fate)]
        elif position == at:
            cuts = _cuts(each, verdict)
        else:
            cuts = [(each.start, each.stop, Fate.RESEND)]
        if is_at_most_once(each.policy):
            not_begun = _not_begun(each, position, at, verdict)
            cuts = [
                (start, stop, fate)
                for a, b, guess in cuts
                for start, stop, fate in (
                    (a, min(b, not_begun), _if_begun(guess)),
                    (max(a, not_begun), b, Fate.RESEND),
                )
            ]
        pieces += [Piece(each.attempt, a, b, fate) for a, b, fate in cuts if a < b]
    return pieces


def _cuts(held: Held, verdict: Verdict) -> list[tuple[int, int, Fate]]:
    """Cut an attempt at the items that may have been running."""
    # A result that is here clears its item, whatever was marked when the worker ended.
    first = min(max(verdict.first, held.start), held.stop)
    stop = min(max(verdict.stop, first), held.stop)
    if verdict.stop - verdict.first > 1:
        fate = Fate.ALONE
    else:
        fate = Fate.TIMED_OUT if verdict.timed_out else Fate.TRIED
    return [
        (held.start, first, Fate.RESEND),
        (first, stop, fate),
        (stop, held.stop, Fate.RESEND),
    ]


def _not_begun(held: Held, position: int, at: int | None, verdict: Verdict | None) -> int:
    """Return the first item that certainly has not begun."""
    if at is None or verdict is None or position < at:
        return held.stop  # it may even be done, and its result lost
    if position > at:
        return held.start
    return min(max(verdict.stop, held.start), held.stop)


def _if_begun(fate: Fate) -> Fate:
    return fate if fate is Fate.TIMED_OUT else Fate.BEGUN


def may_try_again(tries: int, policy: Policy) -> bool:
    """Whether an item that has lost ``tries`` workers is begun once more.

    >>> [may_try_again(tries, Policy(retries_on_loss=2)) for tries in (1, 2, 3)]
    [True, True, False]
    """
    return tries <= policy.retries_on_loss


# --- stragglers and silence


def weighted_median(samples: Iterable[tuple[float, int]]) -> float | None:
    """Return the median of values that count several times each; None if there are none.

    >>> weighted_median([(0.1, 8), (5.0, 1), (0.3, 2)])
    0.1
    """
    ordered = sorted(samples)
    middle = sum(count for _, count in ordered) / 2
    for value, count in ordered:
        middle -= count
        if middle <= 0:
            return value
    return None


def straggling_after(median: float | None) -> float | None:
    """Return the seconds after which a running item straggles; None if nobody knows.

    Source: backup tasks, Dean & Ghemawat, OSDI 2004, section 3.6; the numbers are ours.

    >>> straggling_after(0.1), straggling_after(10.0), straggling_after(None)
    (2.0, 30.0, None)
    """
    if median is None:
        return None
    return max(STRAGGLING_SECONDS, STRAGGLING_TIMES * median)


def probe_after(running: float) -> float:
    """Return for how long a worker may show no sign before it is asked for one.

    Args:
        running: Seconds since its last progress. The longer an item runs, the rarer the
            questions: a thousand workers with items of an hour are asked a hundred
            times a second in all.

    >>> probe_after(0.5), probe_after(6.0), probe_after(3600.0)
    (2.0, 3.0, 10.0)
    """
    return min(LONGEST_PROBE, max(PROBE_SECONDS, running / 2))


def kill_after(asked: int) -> float:
    """Return after how much silence a supervisor is asked to end the process.

    Args:
        asked: How often it has been asked. It looks, and leaves alone a process that is
            busy; so the next question comes after twice the time.
    """
    return KILL_SECONDS * float(2 ** min(asked, 10))
