"""What a script sets in its modules: what travels, what is told, and what is nobody's business."""

from __future__ import annotations

import pickle
import sys
import textwrap
import threading
import types

import pytest

from seppo.shipping.state import LARGEST, MOST_PARTS, State, lost_of


class Loaded:
    """A module made of a text."""

    def __init__(self, text: str, name: str = "mod") -> None:
        self.name = name
        code = compile(textwrap.dedent(text), f"{name}.py", "exec", dont_inherit=True)
        self.module = types.ModuleType(name)
        exec(code, vars(self.module))
        self.state = State(name, code, vars(self.module))

    def look(self):
        values = {k: pickle.loads(bytes.fromhex(v)) for k, v in self.state.values()}
        return values, [each.name for each in self.state.lost()]

    def told(self, *others: Loaded, runs=()):
        modules = [(each.name, each.state) for each in (self, *others)]
        return [name for name, _ in lost_of(modules, lambda: runs)]


MODULE = """
    import threading
    from dataclasses import dataclass, field

    MODEL = None
    LEVEL = 1
    LOCK = threading.Lock()
    TABLE = [1, 2]
    CACHE = {}
    COUNT = 0
    LAZY = None

    def load():
        global MODEL, EXTRA
        MODEL = EXTRA = object()

    def count():
        global COUNT
        COUNT += 1

    def get():
        global LAZY
        if LAZY is None:
            LAZY = object()
        CACHE[1] = LAZY
        return LAZY

    class Config:
        debug = False
        paths = []
        tool: object = None

        def method(self):
            pass

    class Client:
        timeout = 1

        def __init__(self, name="x"):
            self.name = name
            self.retries = 3
            self.seen = 0

        def call(self):
            self.seen += 1

    @dataclass
    class Options:
        level: int = 1
        names: list = field(default_factory=list)
        must: int = 0

    client = Client()
    options = Options()
    given = Options(2, must=5)
"""


@pytest.fixture
def loaded():
    return Loaded(MODULE)


def test_what_import_made_is_neither_sent_nor_told(loaded):
    assert loaded.look() == ({}, [])
    assert loaded.look() == ({}, [])


def test_what_the_module_does_by_itself_is_neither_sent_nor_told(loaded):
    module = loaded.module
    module.count()
    module.get()
    module.client.call()
    module.client.name = "y"  # its constructor may have done so
    module.options.names.append(1)
    module.TABLE.append(3)
    module.given.level = 7
    assert loaded.look() == ({}, [])


@pytest.mark.parametrize(
    "value",
    [True, {1, 2}, frozenset("ab"), ({1}, [{2}]), list(range(5000)), dict.fromkeys(range(9))],
)
@pytest.mark.parametrize("name", ["LEVEL", "brand_new"])
def test_plain_data_travels(loaded, name, value):
    setattr(loaded.module, name, value)
    assert loaded.look() == ({name: value}, [])


@pytest.mark.parametrize(
    "value",
    [object(), threading.Lock(), [object()], b"x" * (LARGEST + 1), [0] * (MOST_PARTS + 1), print],
    ids=["object", "lock", "holds", "bytes", "list", "function"],
)
@pytest.mark.parametrize("name", ["LEVEL", "brand_new"])
def test_globals_that_cannot_travel_are_told(loaded, name, value):
    setattr(loaded.module, name, value)
    assert loaded.look()[0] == {}
    assert loaded.told() == [f"mod.{name}"]


def test_globals_that_a_function_has_set_are_told(loaded):
    loaded.module.load()
    assert loaded.told() == ["mod.EXTRA", "mod.MODEL"] or loaded.told() == [
        "mod.MODEL",
        "mod.EXTRA",
    ]
    assert loaded.told(runs=[loaded.module.load]) == []  # it is the initializer, say
    assert loaded.told(runs=[lambda: loaded.load()]) == []


@pytest.mark.parametrize(
    "text",
    ["load()", "def work(x): load()", "class A:\n    x = load()"],
    ids=["now", "later", "class"],
)
def test_globals_that_a_function_has_set_are_not_told_if_the_workers_may_call_it(text):
    loaded = Loaded(
        "X = None\ndef load():\n    global X\n    X = object()\n" + textwrap.dedent(text)
    )
    loaded.module.load()
    assert loaded.told() == []


def test_globals_that_another_module_sets_are_not_told(loaded):
    loaded.module.load()
    loaded.module.LEVEL = object()
    other = Loaded("def f(mod): mod.load()\ndef g(mod): mod.LEVEL = object()", "other")
    assert loaded.told(other) == []


def set_debug(module):
    module.Config.debug = True


def set_tool(module):
    module.Config.tool = object()


def set_new(module):
    module.Config.token = "x"


def set_default(module):
    module.Client.timeout = 5


def set_constant(module):
    module.client.retries = 5


def set_new_of_object(module):
    module.client.token = "x"


def set_option(module):
    module.options.level = 2


def set_new_option(module):
    module.options.token = 2


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (set_debug, "Config.debug"),
        (set_tool, "Config.tool"),
        (set_new, "Config.token"),
        (set_default, "Client.timeout"),
        (set_constant, "client.retries"),
        (set_new_of_object, "client.token"),
        (set_option, "options.level"),
        (set_new_option, "options.token"),
    ],
)
def test_attributes_that_were_set_are_told(loaded, change, name):
    loaded.look()
    change(loaded.module)
    assert loaded.told() == [f"mod.{name}"]
    attribute = name.partition(".")[2]
    text = f"def read(x): return x.{attribute}\ndef f(x): x.{attribute} = 1"
    setter = Loaded(text)
    assert loaded.told(runs=[setter.module.read]) == [f"mod.{name}"]
    assert loaded.told(runs=[setter.module.f]) == []
    other = Loaded(f"def f(config): config.{attribute} = 1", "other")
    assert loaded.told(other) == []


def test_a_change_before_the_first_look_is_told_too(loaded):
    set_debug(loaded.module)
    set_new(loaded.module)
    set_option(loaded.module)
    assert set(loaded.told()) == {"mod.Config.debug", "mod.Config.token", "mod.options.level"}


def test_new_attributes_are_not_told_where_code_sets_any(loaded):
    set_new(loaded.module)
    set_debug(loaded.module)
    other = Loaded("def f(config, name): setattr(config, name, 1)", "other")
    assert loaded.told(other) == ["mod.Config.debug"]


@pytest.mark.parametrize(
    "text",
    [
        "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2",
        "import abc\nclass E(abc.ABC):\n    A = 1\nE.register(int)",
        "from typing import NamedTuple\nclass E(NamedTuple):\n    a: int = 1",
        "import dataclasses as d\n@d.dataclass(slots=True)\nclass E:\n    a: int = 1\ne = E()",
        "import functools\n@functools.total_ordering\nclass E:\n    def __lt__(self, o): return 1",
        "class E:\n    a = 1\n    def __init__(self): self.a = 2\ne = E()",
        "class E:\n    a = 1\nE.a = 2\nE.b = 3",
        "class E:\n    a = 1\n    def __init__(s, **k): s.__dict__.update(k)\ne = E(a=5, b=3)",
        "class E(dict):\n    a = 1\ne = E(a=2)\ne.a = 3",
        "class E(Exception):\n    a = 1\ne = E()",
        "class E:\n    A = 0\n    @classmethod\n    def f(cls):\n        cls.A = cls()\nE.f()",
        "import types\ne = types.SimpleNamespace(a=1)",
        "if True:\n    X = 1\nelse:\n    X = 2\nfor Y in range(3): pass",
        "def load():\n    global X\n    X = object()\nclass L:\n    def go(self): load()\nL().go()",
        "def f():\n    class E:\n        a = 1\n    E.a = 2\n    return E\nE = f()",
        "import logging\nlog = logging.getLogger('x')\nlog.extra = 1",
        "from os.path import *",
        "globals()['A'] = object()",
    ],
)  # fmt: skip
def test_no_import_raises_a_false_alarm(text):
    assert Loaded(text).told() == []


def test_the_standard_librarys_imports_raise_none():
    """Modules as people write them, as they are after their import and some use."""
    names = ["argparse", "ast", "decimal", "email.message", "http.client", "json.decoder", "shelve"]
    told = []
    for name in [*names, "asyncio.events", "unittest.case", "xml.dom.minidom", "tempfile", "uuid"]:
        __import__(name)
        module = sys.modules[name]
        assert module.__loader__ is not None
        state = State(name, module.__loader__.get_code(name), vars(module))
        told += lost_of([(name, state)])
    assert told == []
