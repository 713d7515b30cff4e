"""The options of a map: one list of them, checked by itself."""

import dataclasses
import inspect

import pytest

import seppo
from seppo.interfaces.options import MapOptions


def keywords(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


@pytest.mark.parametrize("function", [seppo.map_parallel, seppo.map_parallel_serial])
def test_each_option_is_a_keyword_of_the_function_with_the_same_default(function):
    assert keywords(function) == keywords(MapOptions)


@pytest.mark.parametrize(
    ("option", "value", "error", "message"),
    [
        ("chunksize", 0, ValueError, "1 or more is needed, or None"),
        ("chunksize", 1.5, TypeError, "a whole number or None, not 1.5"),
        ("retries", -1, ValueError, "0 or more is needed$"),
        ("retries", "3", TypeError, "a whole number, not '3'"),
        ("group", "", ValueError, "a name is needed"),
        ("env", {"A=B": "1"}, ValueError, "the name of a variable"),
        ("initializer", 3, TypeError, "must be callable"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(option, value, error, message):
    with pytest.raises(error, match=message) as caught:
        MapOptions(**{option: value})
    assert option in str(caught.value)


def test_what_is_given_is_kept_in_one_form():
    options = MapOptions(retries=3, timeout=float("inf"), ordered=0, duplicate=1)
    assert options.retry == seppo.Retry(3)
    assert (options.timeout, options.ordered, options.duplicate) == (None, False, True)
    assert options.setup is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.timeout = 2.0


def test_the_policy_of_a_map_leaves_the_rest_to_this_process_unless_told_not_to():
    assert MapOptions().policy().finishes_here
    assert not MapOptions(fallback="error").policy().finishes_here
    assert MapOptions(buffersize=3).policy(likeness="a").max_ahead == 3


def test_an_executor_needs_a_group_with_a_name():
    with pytest.raises(seppo.ConfigurationError, match="group"):
        seppo.Executor(group="")
