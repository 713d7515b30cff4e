from seppo.core.commands import CancelAttempt, Deliver, FinishJob, SendChunk
from seppo.core.events import Policy
from seppo.core.ledger import LIKENESSES, Ledger


def ledger_with(*workers, items=10, **policy):
    """Return a ledger, and job 1 of which these items are handed out but not yet begun."""
    ledger = Ledger()
    for name in workers:
        ledger.crew.join(name, now=0.0)
    ledger.open(1, Policy(chunksize=items, **policy), now=0.0)
    job = ledger.jobs[1]
    job.items.offer(items, last=True, now=0.0)
    job.items.cut(1)
    return ledger, job


def begin(ledger, name, start, stop, now=0.0):
    worker = ledger.crew.workers[name]
    command = ledger.begin(worker, ledger.jobs[1], start, stop, now)
    return ledger.attempts[command.attempt]


def deliver(ledger, job, index, payload):
    commands = []
    ledger.deliver(job, index, len(payload), payload, commands)
    return commands


def test_an_attempt_begins_with_the_command_that_sends_it():
    ledger, job = ledger_with("a", task_timeout=3.0)
    command = ledger.begin(ledger.crew.workers["a"], job, 0, 4, now=1.0, suspect=True)
    assert command == SendChunk("a", 1, 1, 0, 4, task_timeout=3.0, alone=True)
    assert ledger.attempts[1] is job.attempts[1] is ledger.crew.workers["a"].first


def test_an_attempt_that_ends_is_nowhere():
    ledger, job = ledger_with("a")
    ledger.end(begin(ledger, "a", 0, 4), now=1.0)
    assert not (ledger.attempts)
    assert not (ledger.recallable)
    assert not (job.attempts)
    assert not (job.chunks_at)
    assert list(ledger.crew.idle) == ["a"]


def test_a_single_item_can_be_called_back_if_another_chunk_is_before_it():
    ledger, _ = ledger_with("a", "b")
    alone, first = begin(ledger, "a", 0, 1), begin(ledger, "b", 1, 3)
    second = begin(ledger, "b", 3, 4)
    assert list(ledger.recallable.values()) == [first, second]
    assert alone.number not in ledger.recallable


def test_what_is_given_back_is_not_charged_and_the_rest_cannot_be_called_back():
    ledger, job = ledger_with("a")
    attempt = begin(ledger, "a", 0, 4)
    charge = job.account.served
    ledger.shorten(attempt, 1)
    assert job.account.served == charge / 4
    assert not ledger.recallable


def test_results_go_out_in_order_each_once():
    ledger, job = ledger_with()
    assert deliver(ledger, job, 2, "cd") == []
    assert deliver(ledger, job, 0, "abcd") == [Deliver(1, 0, 2, "abcd"), Deliver(1, 2, 2, "cd")]
    assert deliver(ledger, job, 1, "b") == []


def test_the_first_answer_cancels_whoever_has_the_same_items():
    ledger, job = ledger_with("a", "b", "c", items=2)
    original, other = begin(ledger, "a", 0, 1), begin(ledger, "b", 1, 2)
    ledger.shadow(original)
    copy = begin(ledger, "c", 0, 1)
    ledger.end(copy, now=1.0)
    deliver(ledger, job, 0, "x")
    commands = []
    ledger.drop_twins(job, 0, 1, 1.0, commands, is_shadow=False)
    assert commands == [CancelAttempt("a", original.number)]
    assert list(ledger.attempts.values()) == [other]


def test_a_job_is_finished_once_and_what_runs_of_it_is_cancelled():
    ledger, job = ledger_with("a", items=2)
    begin(ledger, "a", 0, 2)
    deliver(ledger, job, 0, "ab")
    commands = []
    ledger.finish_if_done(job, 1.0, commands)
    ledger.finish_if_done(job, 1.0, commands)
    assert commands == [FinishJob(1), CancelAttempt("a", 1)]
    assert not ledger.jobs


def test_items_go_back_to_a_straggler_that_still_runs_them():
    ledger, job = ledger_with("a", "b", items=3)
    straggler = begin(ledger, "a", 1, 2)
    ledger.shadow(straggler)
    ledger.put_back(job, 0, 3, suspect=True)
    assert not straggler.is_shadow
    assert list(job.items.suspects) == [(0, 1), (2, 3)]


def test_a_silent_worker_that_is_heard_keeps_what_nobody_has_taken():
    ledger, job = ledger_with("a", items=2)
    worker, attempt = ledger.crew.workers["a"], begin(ledger, "a", 0, 2)
    charge = job.account.served
    ledger.hush(worker)
    ledger.shadow(attempt)
    ledger.put_back(job, 0, 2, doubtful=True)
    assert (job.account.served, job.chunks_at) == (0.0, {})
    ledger.heard(worker, now=9.0)
    assert (job.account.served, job.chunks_at) == (charge, {"a": 1})
    assert not (attempt.is_shadow)
    assert not (job.items.doubtful)


def test_a_job_begins_with_the_cost_of_the_last_one_of_its_likeness():
    ledger = Ledger()
    for number, seconds in ((1, 1.0), (2, 3.0)):
        ledger.open(number, Policy(likeness="f"), now=0.0)
        ledger.jobs[number].cost.measure(number, seconds * number, 0, returned=number)
        ledger.close(number, 0.0, [])
    ledger.open(3, Policy(likeness="f"), now=0.0)
    ledger.open(4, Policy(likeness="g"), now=0.0)
    assert [ledger.jobs[n].cost.seconds_per_item for n in (3, 4)] == [3.0, None]


def test_only_the_newest_costs_are_remembered():
    ledger = Ledger()
    for number in range(LIKENESSES + 1):
        ledger.open(number, Policy(likeness=number + 1), now=0.0)
        ledger.jobs[number].cost.measure(1, 1.0, 0, returned=1)
        ledger.close(number, 0.0, [])
    for likeness, is_known in ((1, False), (2, True)):
        ledger.open(0, Policy(likeness=likeness), now=0.0)
        assert ledger.jobs[0].cost.is_known == is_known
