"""What code imports and binds, from its bytecode, on every version of Python."""

import pytest

from seppo.shipping.bytecode import candidates, imports_of, names_of
from seppo.shipping.state import is_plain_data


def compiled(text):
    return compile(text, "here.py", "exec")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import a.b.c as d", [("a.b.c", 0, ())]),
        ("from . import a, b", [("", 1, ("a", "b"))]),
        ("from ..x.y import z", [("x.y", 2, ("z",))]),
        ("def f():\n    class C:\n        import deep", [("deep", 0, ())]),
        ("x = lambda: __import__('a')", []),
        ("from a import *", [("a", 0, ("*",))]),
        ("import a\nimport a", [("a", 0, ())]),
    ],
)
def test_imports(text, found):
    assert list(imports_of(compiled(text))) == found


@pytest.mark.parametrize(
    ("text", "package", "found"),
    [
        ("from . import a", "p.q", {"p.q", "p.q.a"}),
        ("from .. import a", "p.q", {"p", "p.a"}),
        ("from ..r.s import t", "p.q", {"p.r.s", "p.r.s.t"}),
        ("from . import a", "", set()),
        ("import x.y", "p", {"x.y"}),
        ("def f(): return importlib.import_module('a.b')", "", {"a.b"}),
        ("import_module('.a', __name__); import_module('..b')", "p.q", {"p.q.a", "p.b"}),
        ("__import__('a'); say('no name', '.', '...', 'a.')", "", {"a"}),
        ("import_module('.a'); import_module('..a')", "", set()),
        ("import_module('...a')", "p.q", set()),
        ("say('a.b')", "", set()),
        ("def f(p): return [m for m in iter_modules(p)]", "", {"*"}),
        ("pkgutil.walk_packages(x)", "", {"*"}),
        ("os.listdir(x.__path__[0])", "", {"*"}),
    ],
)
def test_candidates(text, package, found):
    assert set(candidates(compiled(text), package)) == found


def test_constants_that_are_bound_once():
    names = names_of(
        compiled(
            "A = 1\nB = 'b'\nC: float = 2.5\nD = -1\nE = None\nF = (1, 'x')\n"
            "twice = 1\ntwice = 2\n"
            "computed = A + 1\nlisted = []\n"
            "state = 0\ndef f():\n    global state\n    state += 1\n"
            "local = 5\ndef g():\n    local = 6\n    return local\n"
            "class K:\n    A = 7\n"
        )
    )
    assert dict(names.literals) == {
        "A": 1, "B": "b", "C": 2.5, "D": -1, "E": None, "F": (1, "x"), "local": 5
    }  # fmt: skip
    assert {"f", "K", "state", "listed"} <= names.bound


@pytest.mark.parametrize("text", ["from a import *", "globals()['x'] = 1", "exec('x = 1')"])
def test_what_else_is_bound_cannot_always_be_told(text):
    assert names_of(compiled(text)).bound is None


def test_plain_data():
    nested = [1]
    for _ in range(10):
        nested = [nested]
    assert is_plain_data([1, {"a": (2.5, b"x", None)}])
    assert not is_plain_data(nested)
    assert not is_plain_data([0] * 100_000)
    assert not is_plain_data([object()])
    assert not is_plain_data(is_plain_data)
