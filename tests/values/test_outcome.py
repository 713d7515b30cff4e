"""Exceptions on their way home: as themselves where they can, as text where not."""

from __future__ import annotations

import functools
import pickle
import traceback

import hostile
import numpy as np
import pytest

from seppo.errors import RemoteError, RemoteTraceback, SerializationError
from seppo.values.exceptions import add_note
from seppo.values.outcome import MAX_TEXT, Failure, unsendable
from seppo.values.serialize import dump_whole


def caught(func: object, *args: object) -> BaseException:
    """Return what a call raises, with its traceback."""
    try:
        func(*args)  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def arrive(error: BaseException) -> BaseException:
    """Send an exception as between processes."""
    failure = pickle.loads(pickle.dumps(Failure.of(error)))
    return failure.to_exception(7, "seppo.host.1")


def raise_it(error: BaseException) -> None:
    raise error


def test_an_exception_arrives_as_itself():
    error = arrive(caught(lambda: {}["missing"]))
    assert type(error) is KeyError
    assert error.args == ("missing",)


def test_the_remote_traceback_is_the_cause():
    def deep_inside() -> None:
        raise ValueError("boom")

    error = arrive(caught(deep_inside))
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "deep_inside" in str(error.__cause__)
    assert 'raise ValueError("boom")' in str(error.__cause__)
    shown = "".join(traceback.format_exception(error))
    assert "deep_inside" in shown
    assert shown.index("deep_inside") < shown.index("direct cause")


def test_our_own_frames_are_left_out():
    failure = Failure.of(caught(raise_it, ValueError("x")), skip=1)
    assert "raise_it" in failure.traceback
    assert "in caught" not in failure.traceback


def test_an_exception_that_was_never_raised_has_no_traceback_and_no_cause():
    assert Failure.of(ValueError("x")).traceback == ""
    assert arrive(ValueError("x")).__cause__ is None


def test_a_note_says_which_item_and_which_worker():
    error = arrive(ValueError("x"))
    assert error.__notes__ == ["seppo: item 7, on worker seppo.host.1"]


def test_notes_of_the_user_come_first():
    error = ValueError("x")
    add_note(error, "mine")
    assert arrive(error).__notes__[0] == "mine"
    assert len(arrive(error).__notes__) == 2
    assert error.__notes__ == ["mine"]  # the original is not touched


def test_attributes_arrive():
    error = ValueError("x")
    error.code = {"a": [1]}  # type: ignore[attr-defined]
    assert arrive(error).code == {"a": [1]}


@pytest.mark.parametrize("size", [10, 100_000])
def test_an_array_in_an_exception_arrives(size):
    error = arrive(ValueError("bad data", np.arange(size)))
    assert type(error) is ValueError
    assert (error.args[1] == np.arange(size)).all()


def test_an_exception_of_the_users_own_class_keeps_its_class():
    assert type(arrive(caught(hostile.fail))) is hostile.Oops


def test_a_class_made_inside_a_function_keeps_its_identity():
    class Local(Exception):
        pass

    assert type(arrive(Local("x"))) is Local


def test_chained_causes_are_shown():
    def chained() -> None:
        try:
            raise KeyError("the first")
        except KeyError as error:
            raise ValueError("the second") from error

    text = str(arrive(caught(chained)).__cause__)
    assert text.index("the first") < text.index("direct cause") < text.index("the second")


def test_an_error_within_an_error_is_shown():
    def handling() -> None:
        try:
            raise KeyError("the first")
        except KeyError:
            raise ValueError("the second")  # noqa: B904

    assert "the first" in str(arrive(caught(handling)).__cause__)


@pytest.mark.parametrize(
    "error",
    [
        hostile.TwoArguments(3, "boom"),
        hostile.KeywordOnly(code=3),
        hostile.ChangesItsText("name"),
        hostile.Impostor("x"),
        hostile.Forgetful("x", 3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_its_constructor_or_reduction_does_it_arrives_whole(error):
    arrived = arrive(caught(raise_it, error))
    assert type(arrived) is type(error)
    assert (str(arrived), arrived.args) == (str(error), error.args)
    assert {**vars(arrived), "__notes__": 0} == {**vars(error), "__notes__": 0}
    assert arrived.__notes__ == ["seppo: item 7, on worker seppo.host.1"]


@pytest.mark.parametrize("stage", [hostile.RaisesAtPickling, hostile.RaisesAtUnpickling])
@pytest.mark.parametrize("kind", [hostile.Oops, SystemExit, GeneratorExit])
def test_an_argument_that_cannot_travel_is_left_out_and_named(stage, kind):
    error = ValueError("holds", stage(kind), 3)
    arrived = arrive(caught(raise_it, error))
    assert type(arrived) is ValueError
    assert (arrived.args[0], arrived.args[2]) == ("holds", 3)
    assert str(arrived) == str(error)  # what stands there looks like it
    left, item = arrived.__notes__
    assert left.startswith(f"seppo: args[1] was left out: {kind.__name__}: at ")
    assert "item 7" in item
    assert "raise_it" in str(arrived.__cause__)


def test_an_attribute_that_cannot_travel_is_left_out_and_named():
    error = hostile.HoldsALock("locked")
    error.other = [1, 2]
    arrived = arrive(caught(raise_it, error))
    assert type(arrived) is hostile.HoldsALock
    assert (arrived.args, arrived.other) == (("locked",), [1, 2])
    assert not hasattr(arrived, "lock")
    assert "lock was left out: TypeError: cannot pickle" in arrived.__notes__[0]


@pytest.mark.parametrize("error", [hostile.TellsItsLock("locked"), hostile.local_class()("x")])
def test_what_cannot_travel_arrives_as_its_text_with_the_reason(error):
    arrived = arrive(caught(raise_it, error))
    assert isinstance(arrived, RemoteError)
    assert arrived.type_name.endswith(type(error).__qualname__)
    assert arrived.text == str(error)
    assert arrived.why
    assert arrived.why in str(arrived)
    assert "raise_it" in str(arrived.__cause__)


def test_a_text_with_an_address_costs_nothing():
    error = hostile.Oops("x", hostile.CannotBePickled.__new__(hostile.CannotBePickled))
    arrived = arrive(error)
    assert type(arrived) is hostile.Oops
    assert type(arrived.args[1]) is hostile.CannotBePickled
    assert len(arrived.__notes__) == 1


def test_a_text_that_is_never_the_same_costs_nothing():
    arrived = arrive(hostile.Counts("x"))
    assert type(arrived) is hostile.Counts
    assert arrived.args == ("x",)


def test_a_text_that_raises_costs_nobody_anything():
    arrived = arrive(caught(raise_it, hostile.NoText()))
    assert type(arrived) is hostile.NoText
    failure = Failure.of(hostile.NoText())
    assert "Oops" in failure.text
    assert failure.to_exception(0, "w").__notes__


def test_an_exception_that_forbids_attributes_arrives():
    arrived = arrive(caught(raise_it, hostile.ForbidsAttributes("x")))
    assert type(arrived) is hostile.ForbidsAttributes
    assert arrived.args == ("x",)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, StopIteration, GeneratorExit])
def test_special_exceptions_arrive_too(kind):
    assert type(arrive(caught(raise_it, kind("x")))) is kind


def test_long_texts_are_cut():
    failure = Failure.of(caught(raise_it, hostile.TellsItsLock("x" * 10 * MAX_TEXT)))
    assert len(failure.text) == MAX_TEXT
    assert len(failure.traceback) <= MAX_TEXT


def test_an_exception_that_does_not_unpickle_at_the_client_arrives_as_text():
    good = Failure.of(ValueError("x"))
    for pickled in (
        b"junk",
        pickle.dumps("no exception"),
        dump_whole(hostile.RaisesAtUnpickling()),
    ):
        failure = Failure(good.type_name, good.text, "Traceback ...", pickled)
        arrived = failure.to_exception(1, "w")
        assert isinstance(arrived, RemoteError)
        assert arrived.type_name == "builtins.ValueError"
        assert arrived.why


def test_what_is_unsendable_says_what_it_was():
    failure = unsendable("the result of item 3", TypeError("cannot pickle a lock"))
    error = failure.to_exception(3, "w")
    assert isinstance(error, SerializationError)
    assert "the result of item 3" in str(error)
    assert "TypeError: cannot pickle a lock" in str(error)


def test_exceptions_with_cycles_arrive():
    error = ValueError("x")
    error.me = error  # type: ignore[attr-defined]
    arrived = arrive(error)
    assert arrived.me is arrived


def test_a_failure_can_be_kept_and_raised_again():
    failure = Failure.of(caught(functools.partial(hostile.fail)))
    first, second = failure.to_exception(1, "a"), failure.to_exception(2, "b")
    assert first is not second
    assert len(second.__notes__) == 1
