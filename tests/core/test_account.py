import pytest
from hypothesis import given
from hypothesis import strategies as st

from seppo.core.account import Account

SECONDS = st.floats(0.0, 1e6)


def test_what_is_done_counts_by_what_it_took():
    account = Account()
    account.charge(1, 10.0)
    account.keep(1, 0.9)
    account.pay(5.0)
    assert account.served == 14.0
    account.drop(1)
    assert account.served == 5.0


def test_an_attempt_that_is_not_charged_gives_nothing_back():
    account = Account()
    account.keep(7, 0.5)
    account.drop(7)
    assert (account.served, account.charge_of(7)) == (0.0, 0.0)


def test_a_charge_may_grow():
    account = Account()
    account.charge(1, 0.1)
    account.charge(1, 4.0)
    assert account.served == account.charge_of(1) == 4.0


def test_a_credit_is_given_up_and_a_debt_is_kept():
    account = Account()
    account.raise_to(10.0)
    assert account.served == 10.0
    account.raise_to(3.0)
    assert account.served == 10.0
    account.charge(1, 5.0)
    account.raise_to(12.0)  # with what is under way it has had more
    assert account.served == 15.0


@given(st.lists(st.tuples(st.integers(0, 5), SECONDS, st.floats(0.0, 1.0))))
def test_only_what_was_paid_is_left_in_the_end(steps):
    account = Account()
    for attempt, seconds, part in steps:
        account.charge(attempt, seconds)
        account.keep(attempt, part)
    account.pay(3.0)
    for attempt in range(6):
        account.drop(attempt)
    assert account.served == pytest.approx(3.0)
