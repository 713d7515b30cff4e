"""What of ``__main__`` travels with a function: which names, how often, in which order."""

import contextlib
import pickle
import sys
import textwrap
import types

import pytest

from seppo.errors import SerializationError
from seppo.values import script
from seppo.values.batch import pack_values, unpack_all
from seppo.values.function import grow, pack_function
from seppo.values.main import Seen
from seppo.values.script import StandIn
from seppo.values.source import PackedCall, SequenceSource, StreamSource, TaskSource, run_task


@pytest.fixture
def main(monkeypatch):
    """Run code in a module that is this process's ``__main__`` meanwhile."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)

    def run(text):
        exec(textwrap.dedent(text), vars(module))
        return module

    return run


class There:
    """A worker, in this process."""

    def __init__(self):
        self.stand_in = StandIn()

    @contextlib.contextmanager
    def entered(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "__main__", self.stand_in.module)
            patch.setattr(script, "_here", self.stand_in)
            yield

    def __call__(self, function, *args):
        """Return what a packed function returns."""
        with self.entered():
            return function.content.load_func()(*args)


@pytest.fixture
def there():
    return There()


def names(function):
    return [definition.names for definition in function.content.definitions]


def key_of(function, *of):
    return {made.names: made.key for made in function.content.definitions}[of]


@pytest.fixture
def pack(main):
    def run(text, name="f"):
        return pack_function(vars(main(text))[name])

    return run


def test_only_names_that_are_needed_travel(pack):
    function = pack(
        """
        import math
        used, unused = [1], [2]
        attribute = [3]
        def helper(x): return g(x).attribute
        def g(x): return math.sqrt(x) + len(used)
        def f(x): return helper(x) + undefined
        """
    )
    found = {name for group in names(function) for name in group}
    assert found == {"f", "helper", "g", "math", "used"}
    assert set(function.content.absent) == {"undefined", "len"}


def test_functions_may_call_each_other(pack, there):
    function = pack(
        """
        def f(n): return n and g(n - 1)
        def g(n): return n and f(n - 1)
        """
    )
    assert there(function, 9) == 0


def test_a_definition_comes_after_those_it_refers_to(pack):
    function = pack(
        """
        values = []
        table = {"values": values}
        class Base: pass
        class Derived(Base): shared = table
        def f(x, kind=Derived): return kind
        """
    )
    order = [group[0] for group in names(function)]
    assert order.index("values") < order.index("table") < order.index("Derived")
    assert order.index("Base") < order.index("Derived") < order.index("f")


def test_what_holds_each_other_is_one_definition(pack):
    function = pack(
        """
        a, b, c = [], [], []
        a.append(b), b.append(c), c.append(a)
        alone = []
        def f(x): return a, b, alone
        """
    )
    assert sorted(map(sorted, names(function))) == [["a", "b", "c"], ["alone"], ["f"]]


def test_data_stays_the_same_object_for_all_that_refer_to_it(pack, there):
    function = pack(
        """
        values = [[]]
        table = {"values": values}
        def f(x): return table["values"] is values
        """
    )
    assert there(function, 1) is True


def test_what_is_not_simply_found_under_its_name_goes_by_value(pack, there):
    function = pack(
        """
        import functools
        def plain(x): return x
        def decorate(func):
            @functools.wraps(func)
            def wrapper(x): return func(x), extra
            return wrapper
        extra = 7
        alias = plain
        f = decorate(lambda x: alias(x))
        """
    )
    assert there(function, 1) == (1, 7)


def test_an_unchanged_definition_keeps_its_key_and_its_state(main, there):
    text = """
        n, seen = 1, []
        def f(x):
            seen.append(x)
            return n, len(seen)
        """
    module = main(text)
    first = pack_function(module.f)
    assert there(first, 0) == (1, 1)
    module.n = 2
    second = pack_function(module.f)
    assert key_of(first, "seen") == key_of(second, "seen")
    assert key_of(first, "n") != key_of(second, "n")
    assert [there(second, 0), there(first, 0), there(second, 0)] == [(2, 2), (1, 3), (2, 4)]


def test_the_key_of_what_holds_data_follows_the_data(main):
    module = main("values = []\ntable = [values]\ndef f(x): return table")
    before = pack_function(module.f)
    module.values.append([1])
    after = pack_function(module.f)
    assert key_of(before, "table") != key_of(after, "table")
    assert key_of(before, "f") == key_of(after, "f")


def test_names_that_are_not_defined_any_more_go(main, there):
    module = main("def sum(x): return 'mine'\ndef f(x): return sum(x)")
    assert there(pack_function(module.f), [1]) == "mine"
    del module.sum
    assert there(pack_function(module.f), [1]) == 1


def test_what_cannot_be_pickled_is_named(pack):
    with pytest.raises(SerializationError, match=r"'guard'.* f "):
        pack("import threading\nguard = threading.Lock()\ndef f(x): return guard")


def test_items_refer_to_their_classes(main):
    module = main(
        """
        scale = 3
        class Item:
            def __init__(self, x): self.x = x
            def scaled(self): return scale * self.x
        def f(x): return x
        """
    )
    function = pack_function(module.f)
    source = SequenceSource(function, [[module.Item([i]) for i in range(1000)]])
    (batch,) = source.pack(0, 1000)
    assert sum(map(len, batch.parts)) < 100_000
    assert {name for group in names(source.function) for name in group} == {"f", "Item", "scale"}
    grown = source.function
    source.pack(0, 1000)
    assert source.function is grown
    (item, *_) = unpack_all(batch, str)
    assert type(item) is module.Item


def test_simple_items_are_one_pickle(main):
    module = main(
        """
        class Item:
            def __init__(self, x): self.x = x
        """
    )
    items = [module.Item(i) for i in range(100)]
    seen = Seen()
    batch = pack_values(items, str, seen)
    assert len(batch.parts) == 1
    assert seen.names == {"Item"}
    assert [item.x for item in unpack_all(batch, str)] == list(range(100))


def test_a_class_that_was_defined_anew_goes_by_value_to_who_has_the_old_one(main):
    module = main("class Item:\n    pass\ndef f(x): return Item")
    function = pack_function(module.f)
    old = module.Item()
    main("class Item:\n    is_new = True\n")
    source = StreamSource(function, 1)
    source.add(0, (module.Item(),))
    source.add(1, (old,))
    assert source.function is function
    new, again = unpack_all(source.pack(0, 2)[0], str)
    assert (type(new), type(again)) == (module.Item, type(old))


def test_items_that_need_what_cannot_be_pickled_do_not_stop_the_map(main, there):
    module = main(
        """
        import threading
        guard = threading.Lock()
        class Item:
            def use(self): return guard
        def f(x): return x
        """
    )
    seen = Seen()
    pack_values([module.Item()], str, seen)
    function = grow(pack_function(module.f), seen)
    assert there(function, 1) == 1
    assert "Item" in there.stand_in.namespace
    with there.entered(), pytest.raises(SerializationError, match=r"guard.*lock"):
        pickle.loads(b"c__main__\nguard\n.")


def test_a_hint_that_cannot_be_loaded_harms_nobody(main, there):
    module = main(
        """
        from __future__ import annotations
        class Broken:
            def __reduce__(self): return (int, ("no number",))
        broken = Broken()
        class Hinted:
            default = broken
        def f(x: Hinted): return x
        """
    )
    function = pack_function(module.f)
    assert there(function, 3) == 3
    assert "no number" in there.stand_in.problems["Hinted"]
    assert "Hinted" not in there.stand_in.namespace


def test_a_call_brings_what_its_arguments_need(main):
    module = main(
        """
        class Item:
            def __init__(self, x): self.x = x
        def f(item): return item.x
        """
    )
    source = TaskSource(lambda index: True)
    source.add(0, PackedCall.of(module.f, (module.Item(4),), {}))
    source.add(1, PackedCall.of(module.f, (5,), {}))
    first, second = unpack_all(source.pack(0, 2)[0], str)
    assert "Item" in {name for made in first.definitions for name in made.names}
    assert run_task(first) == 4
    assert type(second) is tuple


def test_a_call_has_the_values_of_when_it_was_made(main):
    module = main("import numpy\nvalues = numpy.zeros(10_000)\ndef f(i): return values[i]")
    source = TaskSource(lambda index: True)
    source.add(0, PackedCall.of(module.f, (0,), {}))
    module.values[:] = 1
    (task,) = unpack_all(source.pack(0, 1)[0], str)
    (values,) = [made for made in task.definitions if made.names == ("values",)]
    assert not any(values.buffers[0])
