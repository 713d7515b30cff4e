"""``progress=`` in all its forms, with and without workers."""

import io
from typing import ClassVar

import pytest
import userland
from tqdm import tqdm

import seppo


class Bar(tqdm):
    made: ClassVar[list] = []

    def __init__(self, *args, **keywords):
        super().__init__(*args, **{"file": io.StringIO(), **keywords})
        Bar.made.append(self)


@pytest.fixture(params=[True, False], ids=["workers", "serial"])
def run(request):
    if request.param:
        request.getfixturevalue("cluster")
        return seppo.map_parallel
    return seppo.map_parallel_serial


@pytest.mark.parametrize("xs", [range(50), [1, 2, 3], {1, 2}], ids=type)
def test_callable_gets_done_and_total(run, xs):
    calls = []
    results = run(userland.square, xs, progress=lambda done, total: calls.append((done, total)))
    assert sorted(results) == sorted(map(userland.square, xs))
    assert calls[0] == (0, len(xs))
    assert calls[-1] == (len(xs), len(xs))
    assert calls == sorted(calls)


def test_total_is_none_if_nobody_knows(run):
    calls = []
    results = run(abs, iter([1, 2]), progress=lambda *call: calls.append(call))
    assert list(results) == [1, 2]
    assert calls[-1] == (2, None)


def test_bar_class_is_filled_and_closed(run):
    assert len(list(run(userland.square, range(20), progress=Bar))) == 20
    assert (Bar.made[-1].n, Bar.made[-1].total) == (20, 20)
    assert Bar.made[-1].disable


def test_dict_goes_to_tqdm(run):
    file = io.StringIO()
    list(run(userland.square, range(9), progress={"desc": "nine", "file": file}))
    assert "nine: 100%" in file.getvalue()
    assert "9/9" in file.getvalue()


@pytest.mark.parametrize("progress", [True, "squares"])
def test_bar_is_drawn(run, progress, capsys):
    list(run(userland.square, range(9), progress=progress))
    drawn = capsys.readouterr().err
    assert "9/9" in drawn
    assert ("squares" in drawn) == (progress == "squares")


def test_failed_items_count_as_done(run):
    calls = []
    results = run(
        userland.fails_on_odd,
        range(4),
        return_exceptions=True,
        progress=lambda *call: calls.append(call),
    )
    list(results)
    assert calls[-1] == (4, 4)


def test_bar_is_closed_with_the_map(run):
    with run(userland.square, range(20), progress=Bar) as results:
        next(results)
    assert Bar.made[-1].disable
