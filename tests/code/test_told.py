"""What a script has set in its modules, and what the workers have of it."""

import warnings

import pytest

import seppo
from seppo.shipping import bundle


def results_of(func, **options):
    results = list(seppo.map_parallel(func, range(4), fallback="error", **options))
    return results[0] if results == results[:1] * 4 else results


MODULE = """
    MODEL = None
    NAMES = None

    class Config:
        debug = False

    def load():
        global MODEL
        MODEL = 5

    def use(x):
        return MODEL, Config.debug, NAMES, len(extra)

    extra = ()
"""


def told(found):
    return [str(each.message).partition(" ")[0] for each in found]


def test_sets_and_long_lists_travel(project):
    project.write("sets.py", "NAMES = None\ndef use(x): return NAMES, len(extra)\n")
    module = project.load("sets")
    module.NAMES, module.extra = {"a", "b"}, [*range(5000)]
    assert results_of(module.use) == ({"a", "b"}, 5000)


def test_what_does_not_travel_is_told_once_at_the_callers_line(project, monkeypatch):
    monkeypatch.setattr(bundle, "LOOK_SHARE", 1e9)  # each map looks
    project.write("settable.py", MODULE)
    module = project.load("settable")
    module.load()
    module.Config.debug = True
    with pytest.warns(RuntimeWarning, match="initializer=") as found:
        assert results_of(module.use) == (None, False, None, 0)
    assert told(found) == ["settable.MODEL", "settable.Config.debug"]
    assert {each.filename for each in found} == {__file__}
    assert results_of(module.use) == (None, False, None, 0)  # a warning would be an error
    module.NAMES = object()
    with pytest.warns(RuntimeWarning, match="type object") as found:
        results_of(module.use)
    assert told(found) == ["settable.NAMES"]


def test_nothing_is_told_of_what_the_initializer_sets(project):
    project.write("settled.py", MODULE)
    module = project.load("settled")
    module.load()
    module.Config.debug = True

    def set_debug():
        module.load()
        module.Config.debug = True

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert results_of(module.use, initializer=set_debug) == (5, True, None, 0)


def test_nothing_is_told_of_what_the_function_sets(project):
    project.write("setting.py", "def work(x):\n    global LAST\n    LAST = [x]\n    return LAST\n")
    module = project.load("setting")
    module.work(1)
    assert list(seppo.map_parallel(module.work, range(3))) == [[0], [1], [2]]
    assert list(seppo.map_parallel(lambda x: module.work(x), range(3))) == [[0], [1], [2]]
