"""Who is to blame, what straggles, and when: pure decisions."""

import pytest

from seppo.core.events import Policy, Verdict
from seppo.core.recovery import (
    Fate,
    Held,
    judge,
    kill_after,
    may_try_again,
    probe_after,
    straggling_after,
    weighted_median,
)

TWICE = Policy()
ONCE = Policy(retries_on_loss=0, duplicate=False)


def fates(verdict, *spans, policy=TWICE):
    """Return the fates of items that attempts 1, 2, ... held."""
    held = [Held(n, start, stop, policy) for n, (start, stop) in enumerate(spans, 1)]
    return [(p.start, p.stop, p.fate.name.lower()) for p in judge(held, verdict)]


def test_one_item_ran_and_only_that_is_counted():
    verdict = Verdict("SIGSEGV", 1, 4, 5)
    assert fates(verdict, (0, 10), (10, 20)) == [
        (0, 4, "resend"),
        (4, 5, "tried"),
        (5, 10, "resend"),
        (10, 20, "resend"),
    ]


def test_of_a_range_only_that_runs_alone_and_nothing_is_counted():
    assert fates(Verdict("SIGKILL", 1, 4, 7), (0, 10)) == [
        (0, 4, "resend"),
        (4, 7, "alone"),
        (7, 10, "resend"),
    ]


def test_a_result_clears_its_item_whatever_was_marked():
    assert fates(Verdict("SIGKILL", 1, 4, 5), (6, 10)) == [(6, 10, "resend")]
    assert fates(Verdict("SIGKILL", 1, 4, 8), (6, 10)) == [(6, 8, "alone"), (8, 10, "resend")]


def test_the_second_chunk_is_judged_where_the_results_of_the_first_were_lost():
    assert fates(Verdict("SIGKILL", 2, 10, 11), (0, 10), (10, 12)) == [
        (0, 10, "resend"),
        (10, 11, "tried"),
        (11, 12, "resend"),
    ]


@pytest.mark.parametrize("attempt", [None, 99])
def test_nobody_is_blamed_where_nothing_of_ours_ran(attempt):
    assert fates(Verdict("SIGKILL", attempt, 0, 1), (0, 1)) == [(0, 1, "resend")]


def test_without_a_verdict_what_was_first_runs_alone():
    assert fates(None, (0, 10), (10, 20)) == [(0, 10, "alone"), (10, 20, "resend")]


def test_without_a_verdict_an_item_that_was_alone_is_counted():
    assert fates(None, (3, 4), (10, 20)) == [(3, 4, "tried"), (10, 20, "resend")]


def test_an_item_over_its_time_is_given_up():
    verdict = Verdict("over its task_timeout", 1, 4, 5, timed_out=True)
    assert fates(verdict, (4, 6)) == [(4, 5, "timed_out"), (5, 6, "resend")]
    assert fates(verdict, (4, 6), policy=ONCE) == [(4, 5, "timed_out"), (5, 6, "resend")]


def test_where_nothing_may_begin_twice_only_what_cannot_have_begun_is_sent_again():
    spans = (0, 4), (4, 10), (10, 12)
    assert fates(Verdict("SIGKILL", 2, 5, 6), *spans, policy=ONCE) == [
        (0, 4, "begun"),
        (4, 5, "begun"),
        (5, 6, "begun"),
        (6, 10, "resend"),
        (10, 12, "resend"),
    ]
    assert {fate for *_, fate in fates(None, *spans, policy=ONCE)} == {"begun"}
    assert {fate for *_, fate in fates(Verdict("x", None), *spans, policy=ONCE)} == {"begun"}


def test_every_item_has_one_fate():
    for first in range(-2, 14):
        for stop in range(first + 1, 16):
            for policy in (TWICE, ONCE):
                found = fates(Verdict("x", 1, first, stop), (0, 10), policy=policy)
                covered = [i for start, end, _ in found for i in range(start, end)]
                assert covered == list(range(10))


def test_tries_are_counted_against_the_budget():
    assert not may_try_again(1, ONCE)
    assert may_try_again(2, TWICE)
    assert not may_try_again(3, TWICE)


def test_the_median_counts_items_not_chunks():
    assert weighted_median([(1.0, 1), (9.0, 1), (2.0, 100)]) == 2.0
    assert weighted_median([]) is None


def test_what_is_quick_is_never_a_straggler():
    assert straggling_after(0.001) == 2.0
    assert straggling_after(4.0) == 12.0


def test_questions_become_rarer_the_longer_an_item_runs():
    assert [probe_after(seconds) for seconds in (0, 4, 10, 10_000)] == [2, 2, 5, 10]


def test_the_end_of_a_process_is_asked_for_at_growing_intervals():
    assert [kill_after(n) for n in range(4)] == [20, 40, 80, 160]
    assert kill_after(10**6) < float("inf")


def test_fates_are_all_used():
    seen = set()
    for policy in (TWICE, ONCE):
        for verdict in (None, Verdict("x", 1, 2, 3), Verdict("x", 1, 2, 5), Verdict("x", None)):
            seen |= {p.fate for p in judge([Held(1, 0, 9, policy)], verdict)}
    seen |= {p.fate for p in judge([Held(1, 0, 1, TWICE)], Verdict("x", 1, 0, 1, True))}
    assert seen == set(Fate)
