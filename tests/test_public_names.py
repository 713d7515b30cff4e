"""The public names: what is listed exists, is explained, and costs nothing to import."""

from __future__ import annotations

import importlib.resources
import inspect
import subprocess
import sys

import pytest

import seppo
from seppo import errors

THIRD_PARTY = ["Pyro5", "cloudpickle", "tqdm", "numpy", "msgpack", "serpent", "PIL"]


@pytest.mark.parametrize("name", seppo.__all__)
def test_what_is_listed_exists(name):
    assert getattr(seppo, name) is not None


@pytest.mark.parametrize("name", seppo.__all__)
def test_every_public_callable_is_explained(name):
    value = getattr(seppo, name)
    assert callable(value)
    assert inspect.getdoc(value)
    if isinstance(value, type):
        for method, function in vars(value).items():
            if not method.startswith("_") and callable(function):
                assert inspect.getdoc(getattr(value, method)), f"{name}.{method}"


def test_all_errors_are_public():
    assert set(errors.__all__) <= set(seppo.__all__)
    assert all(getattr(seppo, name) is getattr(errors, name) for name in errors.__all__)


def test_what_is_defined_is_listed():
    public = {
        name
        for name, value in vars(seppo).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and getattr(value, "__module__", "").startswith("seppo")
    }
    assert public == set(seppo.__all__) & set(vars(seppo))
    assert set(seppo._HOMES) <= set(seppo.__all__)


def test_lists_are_sorted_and_without_repetition():
    for module in (seppo, errors):
        assert sorted(set(module.__all__)) == list(module.__all__)


def test_dir_shows_names_that_are_not_loaded_yet():
    assert set(seppo.__all__) <= set(dir(seppo))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        seppo.no_such_name  # noqa: B018


def test_types_are_shipped():
    home = importlib.resources.files("seppo")
    assert (home / "py.typed").is_file()


def test_importing_loads_no_third_party_package():
    code = f"import sys, seppo; print([m for m in {THIRD_PARTY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
    # The second witness: the times of all modules that were imported.
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "seppo.errors" in imported
    assert not imported & set(THIRD_PARTY)
