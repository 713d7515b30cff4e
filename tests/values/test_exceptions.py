"""Exceptions made again past their constructors, and what of them is left out."""

from __future__ import annotations

import builtins
import dataclasses
import io
import json
import pickle
import subprocess
import sys
import threading
import urllib.error

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seppo.errors import RemoteError
from seppo.values.exceptions import LeftOut
from seppo.values.outcome import Failure
from seppo.values.salvage import MAX_DEPTH, dump_in_pieces
from seppo.values.serialize import dump, load


def arrive(error: BaseException) -> BaseException:
    """Send an exception as between processes."""
    return pickle.loads(pickle.dumps(Failure.of(error))).to_exception(7, "w")


def salvaged(error: BaseException) -> BaseException:
    """Send an exception in pieces."""
    return pickle.loads(dump_in_pieces(error, lambda problem: False))


def as_value(error: BaseException) -> BaseException:
    """Send an exception as an item, or a result."""
    return load(dump(error))


ways = pytest.mark.parametrize("way", [arrive, salvaged, as_value])


def facts(error: BaseException) -> tuple[object, ...]:
    attributes = {name: value for name, value in vars(error).items() if name != "__notes__"}
    slots = getattr(error, "slot", None)
    return type(error), str(error), error.args, attributes, slots


# --- whatever the constructor is like


class Plain(Exception):
    pass


class Text(Exception):
    def __init__(self, name):
        super().__init__(f"{name} not found")


class Two(Exception):
    def __init__(self, name, code):
        super().__init__(f"{name}: {code!r}")
        self.name, self.code = name, code


class Keywords(Exception):
    def __init__(self, *, name, code):
        super().__init__()
        self.name, self.code = name, code

    def __str__(self):
        return f"{self.name} {self.code!r}"


class NoCall(Exception):
    def __init__(self, name, code):
        self.name = name


class OfKey(KeyError):
    def __init__(self, name, code):
        super().__init__(f"{name} not found", code)
        self.code = code


class OfSystem(OSError):
    def __init__(self, name, code):
        super().__init__(13, name, "file", None, "other")
        self.code = code


class OfText(UnicodeDecodeError):
    def __init__(self, name, code):
        super().__init__("utf-8", name.encode("utf-8", "replace") + b"?", 0, 1, name)
        self.code = code


class Slotted(Exception):
    __slots__ = ("slot",)

    def __init__(self, name, code=0):
        super().__init__(name)
        self.slot = code


class Made(Exception):
    def __new__(cls, name, code):
        made = super().__new__(cls, name)
        made.code = code
        return made

    def __init__(self, *anything):
        pass


class Mixed(OfKey, AttributeError):
    pass


class Grows(Exception):
    """Each call would add to the text."""

    def __init__(self, *args):
        super().__init__("x", *args)


@dataclasses.dataclass
class Data(Exception):
    name: str
    code: object = None


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    name: str
    code: object = None


SHAPES = [
    lambda name, code: Plain(name, code),
    lambda name, code: Text(name),
    lambda name, code: Two(name, code),
    lambda name, code: Keywords(name=name, code=code),
    lambda name, code: NoCall(name, code),
    lambda name, code: OfKey(name, code),
    lambda name, code: OfSystem(name, code),
    lambda name, code: OfText(name, code),
    lambda name, code: Slotted(name, code),
    lambda name, code: Made(name, code),
    lambda name, code: Mixed(name, code),
    lambda name, code: Grows(name, code),
    lambda name, code: Data(name, code=code),
    lambda name, code: Frozen(name, code=code),
    lambda name, code: ValueError(name, code),
    lambda name, code: FileNotFoundError(2, name, "file"),
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
errors = st.builds(
    lambda make, name, code: make(name, code), st.sampled_from(SHAPES), st.text(), values
)


@ways
@given(error=errors, extra=st.dictionaries(st.from_regex("[a-z]+"), values, max_size=2))
def test_exceptions_come_home_equal(way, error, extra):
    vars(error).update(extra)
    assert facts(way(error)) == facts(error)


@ways
@given(error=errors, code=values)
def test_exceptions_in_exceptions_come_home_equal(way, error, code):
    outer = way(Two("outer", [error, code]))
    assert facts(outer.code[0]) == facts(error)
    assert outer.code[1] == code


@ways
def test_what_c_code_keeps_comes_home(way):
    error = way(OfSystem("no", 1))
    assert (error.errno, error.strerror) == (13, "no")
    assert (error.filename, error.filename2) == ("file", "other")
    assert str(error) == str(OfSystem("no", 1))
    error = way(OfText("why", 1))
    assert (error.encoding, error.object, error.start, error.end) == ("utf-8", b"why?", 0, 1)


@ways
@pytest.mark.parametrize(
    "error",
    [
        UnicodeDecodeError("utf-8", b"ab", 0, 1, "why"),
        subprocess.CalledProcessError(3, ["ls"], "out", "err"),
        json.JSONDecodeError("msg", "doc", 1),
        ImportError("msg", name="n", path="p"),
        SystemExit(3),
        StopIteration(5),
        SyntaxError("bad", ("file", 1, 2, "text")),
        urllib.error.URLError("reason", "name"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_of_the_standard_library_come_home(way, error):
    arrived = way(error)
    assert facts(arrived) == facts(error)
    for name in ("value", "code", "name", "path", "lineno", "doc", "reason", "filename"):
        assert getattr(arrived, name, None) == getattr(error, name, None)


def test_no_constructor_is_called():
    calls = []

    class Calls(Exception):
        def __init__(self, text):
            super().__init__(text)
            calls.append(text)

    assert str(arrive(Calls("x"))) == "x"
    assert calls == ["x"]


def test_what_was_set_later_comes_home_and_what_was_deleted_does_not():
    error = Two("x", 1)
    del error.code
    error.slots = error.new = 5
    assert vars(as_value(error)) == {"name": "x", "slots": 5, "new": 5}


@ways
def test_an_exception_that_refers_to_itself_comes_home(way):
    error = Two("x", 1)
    error.me = error
    arrived = way(error)
    assert arrived.me.me is arrived.me
    assert facts(arrived.me)[:3] == facts(error)[:3]


# --- what cannot be pickled


def test_an_http_error_comes_home_without_its_socket():
    error = urllib.error.HTTPError("http://x", 404, "Not Found", {"a": "b"}, io.BytesIO())
    error.fp = error.file = threading.Lock()
    arrived = arrive(error)
    assert type(arrived) is urllib.error.HTTPError
    assert str(arrived) == "HTTP Error 404: Not Found"
    assert (arrived.code, arrived.url, arrived.headers) == (404, "http://x", {"a": "b"})
    assert any(note.startswith("seppo: fp was left out: ") for note in arrived.__notes__)
    with pytest.raises(AttributeError):
        arrived.read()  # its __getattr__ looks at what was left out


class Looks(Exception):
    """Its ``__getattr__`` would look for ever."""

    def __init__(self, inner):
        super().__init__("looks")
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


def test_a_getattr_that_looks_at_what_was_left_out_comes_to_an_end():
    arrived = arrive(Looks(threading.Lock()))
    assert type(arrived) is Looks
    assert type(arrived.inner) is LeftOut
    with pytest.raises(AttributeError):
        _ = arrived.anything


def test_slots_that_cannot_be_pickled_are_left_out_and_named():
    arrived = arrive(Slotted("x", threading.Lock()))
    assert str(arrived) == "x"
    assert not hasattr(arrived, "slot")
    assert "slot was left out" in arrived.__notes__[0]


def test_notes_of_the_user_stay_first():
    error = Two("x", threading.Lock())
    error.__notes__ = ["mine"]
    notes = arrive(error).__notes__
    assert [note.split()[0] for note in notes] == ["mine", "seppo:", "seppo:"]


def test_in_an_exception_within_an_exception_only_what_must_is_left_out():
    inner = Two("inner", 5)
    inner.lock = threading.Lock()
    arrived = arrive(Two("outer", [inner, inner.name]))
    assert facts(arrived.code[0])[:3] == facts(inner)[:3]
    assert arrived.code[0].code == 5
    assert "lock was left out" in arrived.code[0].__notes__[0]
    assert len(arrived.__notes__) == 1


def test_an_exception_that_refers_to_itself_and_has_more_that_cannot_travel_ends():
    error = Two("x", threading.Lock())
    error.me = error
    code, me, _ = arrive(error).__notes__
    assert code.startswith("seppo: code was left out: TypeError")
    assert me == "seppo: me was left out: CannotTravel: it refers to itself"


def holder(depth: int) -> Two:
    error = Two("x", threading.Lock())
    for _ in range(depth):
        error = Two("x", error)
        error.args = ("x",)
    return error


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, 3 * MAX_DEPTH, 5000])
def test_however_deep_it_ends(depth):
    error = arrive(holder(depth))
    assert type(error) is Two
    assert type(error.code) is Two or "code was left out" in error.__notes__[0]


def test_however_many_ways_lead_around_it_ends():
    error = Two("x", threading.Lock())
    for _ in range(MAX_DEPTH - 1):
        error, below = Two("x", 0), error
        error.args = ("x",)
        error.code = error.other = below
    arrived = arrive(error)
    assert isinstance(arrived, (Two, RemoteError))


# --- groups

grouped = pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no groups")
Group = getattr(builtins, "ExceptionGroup", Exception)
BaseGroup = getattr(builtins, "BaseExceptionGroup", Exception)


class Wraps(Group):
    """Makes its text itself, and keeps something."""

    def __new__(cls, members, code):
        made = super().__new__(cls, f"{len(members)} of them", members)
        made.code = code
        return made

    def __init__(self, members, code):
        super().__init__(members, code)


@ways
@grouped
@given(members=st.lists(errors, min_size=1, max_size=3))
def test_groups_come_home_with_all_that_they_hold(way, members):
    group = Group("outer", [Group("inner", members), *members])
    arrived = way(group)
    assert (type(arrived), str(arrived)) == (Group, str(group))
    inner, *others = arrived.exceptions
    assert [facts(each) for each in inner.exceptions] == [facts(each) for each in members]
    assert [facts(each) for each in others] == [facts(each) for each in members]


@ways
@grouped
def test_groups_of_ones_own_class_come_home(way):
    arrived = way(Wraps([Two("a", 1), Text("b")], 5))
    assert type(arrived) is Wraps
    assert str(arrived) == "2 of them (2 sub-exceptions)"
    assert arrived.code == arrived.args[1] == 5
    assert [str(each) for each in arrived.exceptions] == ["a: 1", "b not found"]


@ways
@grouped
def test_groups_with_any_exceptions_come_home(way):
    arrived = way(BaseGroup("g", [KeyboardInterrupt("k"), Two("a", 1)]))
    assert type(arrived) is BaseGroup
    assert [type(each) for each in arrived.exceptions] == [KeyboardInterrupt, Two]


@grouped
def test_a_bad_member_costs_itself_alone():
    class Local(Exception):
        lock = threading.Lock()

    holds = Two("a", 1)
    holds.lock = threading.Lock()
    arrived = arrive(Group("g", [holds, Local("l"), Text("b")]))
    assert str(arrived) == "g (3 sub-exceptions)"
    first, second, third = arrived.exceptions
    assert (type(first), str(first), first.code) == (Two, "a: 1", 1)
    assert "lock was left out" in first.__notes__[0]
    assert type(second) is RemoteError
    assert "Local" in second.type_name
    assert (type(third), str(third)) == (Text, "b not found")
