"""What a script defines itself: in a worker it is found in ``__main__``, as at the caller."""

import pytest

RUN = """
        def run(func, items, **options):
            return list(seppo.map_parallel(func, items, fallback="error", **options))
"""


@pytest.fixture(scope="session")
def alone(elsewhere):
    """A group of one worker."""
    elsewhere.start_workers(1, "alone")
    return "alone"


@pytest.fixture
def script(project):
    """Run a script and return its lines."""

    def run(text):
        return project.script(RUN.replace("def run", "import seppo\n        def run", 1) + text)

    return run


def test_pickling_objects_of_the_script_inside_the_function(script):
    output = script(
        """
        import pickle

        class Item:
            def __init__(self, x): self.x = x

        def helper(x):
            return x + 1

        def work(item):
            again = pickle.loads(pickle.dumps((item, Item, helper)))
            return again[0].x, type(again[0]) is Item, again[1] is Item, again[2] is helper

        print(run(work, [Item(1), Item(2)]))
        """
    )
    assert output == "[(1, True, True, True), (2, True, True, True)]\n"


def test_type_hints_that_are_texts(project):
    output = project.script(
        """
        from __future__ import annotations
        import dataclasses, typing
        import seppo

        @dataclasses.dataclass
        class Line:
            price: float

        @dataclasses.dataclass
        class Order:
            lines: list[Line]
            note: typing.Optional[str] = None

        def work(order: Order) -> Line:
            hints = typing.get_type_hints(Order) | typing.get_type_hints(work)
            return {name: str(hint) for name, hint in hints.items()}

        (found,) = seppo.map_parallel(work, [Order([])], fallback="error")
        print(found == work(Order([])), found["return"])
        """
    )
    assert output == "True <class '__main__.Line'>\n"


def test_what_only_annotations_mention_may_be_missing(project):
    """It was no trouble before; nobody may ask for it."""
    output = project.script(
        """
        from __future__ import annotations
        import threading
        import seppo

        lock = threading.Lock()

        class Server:
            def stop(self):
                with lock:
                    pass

        def work(x: int, server: Server | None = None) -> Server | int:
            return x

        print(list(seppo.map_parallel(work, [1, 2], fallback="error")))
        """
    )
    assert output == "[1, 2]\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_inside_the_function(script, method):
    """Where the processes are not forked they would wait for ever for what they cannot find."""
    output = script(
        f"""
        import multiprocessing

        N = 2

        class Item:
            def __init__(self, x): self.x = x

        def double(item):
            return Item(N * item.x)

        def work(item):
            with multiprocessing.get_context({method!r}).Pool(1) as pool:
                found = pool.map(double, [item, Item(10)])
            return [(one.x, type(one) is Item) for one in found], found[0]

        ((told, one),) = run(work, [Item(1)], task_timeout=30)
        print(told, one.x, type(one) is Item)
        N = 3
        print(run(work, [Item(1)], task_timeout=30)[0][0])
        """
    )
    assert output == "[(2, True), (20, True)] 2 True\n[(3, True), (30, True)]\n"


def test_what_items_set_in_a_class_stays(script):
    output = script(
        """
        import os

        class Model:
            loaded = None
            def __init__(self, x): self.x = x
            def use(self):
                if Model.loaded is None:
                    Model.loaded = object()
                    return os.getpid(), 1
                return os.getpid(), 0

        def work(model):
            return model.use()

        def other(model):
            return model.use()

        loads = run(work, [Model(i) for i in range(50)], chunksize=1)
        loads += run(other, [Model([i]) for i in range(50)], chunksize=1)
        print(sum(n for _, n in loads) == len({pid for pid, _ in loads}))
        """
    )
    assert output == "True\n"


def test_globals_keep_what_items_did_until_the_caller_sets_them(script, alone):
    output = script(
        f"""
        N, COUNT, SEEN = 1, 0, []

        def work(x):
            global COUNT
            COUNT += 1
            SEEN.append(x)
            return N, COUNT, len(SEEN)

        def one():
            return max(run(work, range(20), group={alone!r}))

        first = one()
        N = 2
        second = one()
        print(first[1:] < second[1:], first[0], second[0], second[1] == second[2])
        COUNT = 1000
        third = one()
        print(third[1] > 1000, third[2] > second[2], third[0])
        print(COUNT, SEEN)
        """
    )
    assert output == "True 1 2 True\nTrue True 2\n1000 []\n"


def test_two_maps_at_once_with_two_values_of_a_global(script):
    output = script(
        """
        N = 1

        def work(x):
            return N

        options = {"fallback": "error", "chunksize": 1, "buffersize": 8}
        one = seppo.map_parallel(work, iter(range(200)), **options)
        N = 2
        two = seppo.map_parallel(work, iter(range(200)), **options)
        print({(next(one), next(two)) for _ in range(200)})
        """
    )
    assert output == "{(1, 2)}\n"


def test_data_that_two_globals_share(script):
    output = script(
        """
        class Config:
            level = 1

        class Engine:
            def __init__(self, config): self.config = config

        config = Config()
        engine = Engine(config)
        config.engine = engine  # a circle
        values = []
        table = {"values": values}

        def work(x):
            config.level = x
            values.append(x)
            return engine.config.level, table["values"] is values, engine.config is config

        print(run(work, [5]))
        values.append(0)
        print(run(work, [6]))
        print(run(engine.__class__, [7])[0].config)
        """
    )
    assert output == "[(5, True, True)]\n[(6, True, True)]\n7\n"


def test_names_that_are_deleted_are_gone(script):
    output = script(
        """
        def sum(values):
            return "mine"

        def work(x):
            return sum([x, x])

        print(run(work, [1]))
        del sum
        print(run(work, [1]))
        """
    )
    assert output == "['mine']\n[2]\n"


def test_results_are_of_the_classes_that_the_items_had(script):
    output = script(
        """
        class Point:
            version = 1
            def __init__(self, x): self.x = x

        def work(point):
            return point, Point(0)

        Old, old = Point, [Point(1), Point([2])]
        results = seppo.map_parallel(work, iter(old), fallback="error", chunksize=1)

        class Point:
            version = 2

        print([(type(a) is Old, type(b) is Old) for a, b in results])
        print([(type(a) is Old, a.version, b.version) for a, b in
               run(lambda p: (p, Point()), old)])
        del Point
        print([type(a) is Old for a in run(lambda p: p, old)])
        """
    )
    first, second, third = output.splitlines()
    assert first == "[(True, True), (True, True)]"
    assert second == "[(True, 1, 2), (True, 1, 2)]"
    assert third == "[True, True]"


def test_functions_that_come_back_are_the_callers_own(script):
    output = script(
        """
        import functools

        def helper(x):
            return x

        @functools.lru_cache
        def cached(x):
            return x

        N = 1

        def work(x):
            return helper, cached, lambda: N

        ((one, two, three),) = run(work, [1])
        N = 5
        print(one is helper, two is cached, three())
        """
    )
    assert output == "True True 5\n"


def test_what_scripts_are_made_of(script):
    output = script(
        """
        import abc, collections, dataclasses, enum, functools, typing

        class Color(enum.Enum):
            RED = 1
            BLUE = 2
            @property
            def other(self):
                return Color.BLUE if self is Color.RED else Color.RED

        class Pair(typing.NamedTuple):
            a: int
            b: Color = Color.RED

        Plain = collections.namedtuple("Plain", "x")

        class Shape(abc.ABC):
            @abc.abstractmethod
            def area(self): ...

        @dataclasses.dataclass(frozen=True, slots=True)
        class Square(Shape):
            side: int
            tags: list = dataclasses.field(default_factory=list)
            def area(self): return self.side ** 2

        class Outer:
            class Inner:
                def __init__(self, x): self.x = x

        class Error(Exception):
            pass

        @functools.singledispatch
        def work(x):
            return "other", x

        @work.register
        def _(x: Square):
            return x.area(), x

        @work.register
        def _(x: Color):
            return x.other, {x: 1}

        @work.register
        def _(x: Outer.Inner):
            raise Error(x.x)

        items = [Color.RED, Pair(1), Plain(2), Square(3)]
        found = run(work, items)
        print(found == [work(item) for item in items])
        print(found[0][0] is Color.BLUE, type(found[1][1]) is Pair, type(found[3][1]) is Square)
        (error,) = run(work, [Outer.Inner(4)], return_exceptions=True)
        print(type(error) is Error, error.args)
        """
    )
    assert output == "True\nTrue True True\nTrue (4,)\n"


def test_items_of_classes_that_turn_up_late(script):
    output = script(
        """
        SCALE = 10

        class Late:
            def __init__(self, x): self.x = x
            def __int__(self): return SCALE * self.x

        state = []

        def inputs():
            yield from range(50)
            yield Late(5)
            yield lambda: Late(SCALE)

        print(run(lambda x: x().x if callable(x) else int(x), inputs())[-2:])
        print(run(int, [1, Late(2), Late(3)]))
        """
    )
    assert output == "[50, 10]\n[1, 20, 30]\n"


def test_an_initializer_runs_before_anything_else_is_loaded(project):
    """As with ``django.setup()``, before which no model may be imported."""
    project.write("framework.py", "READY = []\ndef setup(name): READY.append(name)\n")
    project.write(
        "models.py",
        """
        import framework
        if not framework.READY:
            raise RuntimeError("setup() was not called")
        class Book:
            def __init__(self, title): self.title = title
        """,
    )
    output = project.script(
        """
        import framework, seppo

        LOADED = None

        def begin(name):
            global LOADED, EXTRA
            framework.setup(name)
            LOADED, EXTRA = name, "extra"

        framework.setup("here")
        from models import Book
        EXTRA = None

        def work(x):
            return Book(x).title, LOADED, EXTRA

        print(list(seppo.map_parallel(work, ["a"], initializer=begin, initargs=["there"],
                                      fallback="error")))
        """
    )
    assert output == "[('a', 'there', 'extra')]\n"


def test_initializers_take_turns(script):
    output = script(
        """
        VALUE = None

        def begin(value):
            global VALUE
            VALUE = value

        def work(x):
            return VALUE

        print([run(work, range(10), initializer=begin, initargs=[n]) == [n] * 10
               for n in (1, 2, 1, 1, 3)])
        """
    )
    assert output == "[True, True, True, True, True]\n"


def test_a_global_that_cannot_travel_is_named(script):
    output = script(
        """
        import threading
        guard = threading.Lock()

        class Client:
            def use(self):
                with guard:
                    return 1

        def work(x):
            return Client().use()

        try:
            run(work, [1])
        except seppo.SerializationError as error:
            print(error)

        # It need not be used.
        class Item:
            def use(self):
                with guard:
                    return 1

        print([type(item) is Item for item in run(lambda item: item, [Item(), Item()])])
        """
    )
    first, second = output.splitlines()
    assert "'guard'" in first
    assert "work" in first
    assert "lock" in first
    assert second == "[True, True]"


def test_calls_of_an_executor(script):
    output = script(
        """
        N = 1

        class Item:
            def __init__(self, x): self.x = x

        def work(item):
            return Item(item.x + N)

        def plain(x):
            return x + N

        with seppo.Executor() as executor:
            futures = [executor.submit(work, Item(i)) for i in range(3)]
            futures += [executor.submit(plain, 5), executor.submit(lambda i, k: i, Item(7), k=1)]
            N = 100
            futures += [executor.submit(work, Item(1)), executor.submit(plain, 5)]
            found = [future.result() for future in futures]
        print([getattr(one, "x", one) for one in found], type(found[0]) is Item)
        """
    )
    assert output == "[1, 2, 3, 6, 7, 101, 105] True\n"


def test_facts_of_the_script(project):
    output = project.script(
        """
        import seppo, os

        def work(x):
            return os.path.basename(__file__), __name__

        print(list(seppo.map_parallel(work, [1], fallback="error")))
        """
    )
    assert output == "[('script.py', '__main__')]\n"


def test_a_map_of_a_worker_over_another_group(project):
    project.cluster.start_workers(1, "inner-of-scripts")
    output = project.script(
        """
        import seppo

        class R:
            def __init__(self, x): self.x = x

        def inner(r):
            return R(10 * r.x)

        def outer(x):
            found = list(seppo.map_parallel(inner, [R(x), R([x])], group="inner-of-scripts",
                                            fallback="error"))
            assert all(type(r) is R for r in found)
            return found

        (found,) = seppo.map_parallel(outer, [3], fallback="error")
        print([r.x for r in found], type(found[0]) is R)
        """
    )
    assert output == "[30, [3, 3, 3, 3, 3, 3, 3, 3, 3, 3]] True\n"
