"""The layers of STYLE.md, read from the imports, those inside functions too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RANKS = {
    "errors": 0,
    "version": 0,
    "forks": 0,
    "settings": 1,
    "place": 1,
    "core": 1,
    "wire": 2,
    "shipping": 3,
    "trust": 3,
    "values": 4,
    "pyro": 4,
    "worker": 5,
    "host": 5,
    "engines": 5,
    "driver": 6,
    "interfaces": 7,
    "cli": 8,
    "__init__": 8,
    "__main__": 9,  # one line: cli.main()
}
UNTESTED = {  # files of the core without a test file of their own, and why
    "__init__": "it is empty",
    "commands": "data alone",
    "events": "data alone",
}
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "seppo").rglob("*.py"))


def layer_of(dotted: str) -> str:
    """Return the layer of a module: the name after ``seppo``."""
    return dotted.split(".")[1] if "." in dotted else "__init__"


def module_of(file: Path) -> str:
    parts = file.with_suffix("").parts
    if parts[-1] == "__init__" and len(parts) > 2:
        parts = parts[:-1]
    return ".".join(parts)


def imports(tree: ast.AST, file: Path) -> Iterator[tuple[str, str | None]]:
    """Give (module, name) for everything imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = file.parts[: len(file.parts) - node.level]
                module = ".".join([*package, *filter(None, [module])])
            for alias in node.names:
                yield module, alias.name


def parse(file: Path) -> ast.Module:
    return ast.parse((ROOT / file).read_text(), str(file))


def imported_modules(file: Path) -> set[str]:
    """Return the modules of seppo that a file imports, ``seppo`` itself left out."""
    found = set()
    for module, name in imports(parse(file), file):
        if module == "seppo" and name is not None and name in RANKS:
            found.add(f"seppo.{name}")  # from seppo import errors
        elif module.startswith("seppo."):
            found.add(module)
    return found


def test_the_files_are_found():
    assert Path("seppo/wire/frames.py") in FILES


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_has_a_layer(file):
    assert layer_of(module_of(file)) in RANKS


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_module_imports_from_its_own_folder_and_from_lower_ranks(file):
    layer = layer_of(module_of(file))
    for module in imported_modules(file):
        other = layer_of(module)
        assert other == layer or RANKS[other] < RANKS[layer], f"{file} imports {module}"


@pytest.mark.parametrize("file", [f for f in FILES if f.parts[1] == "core"], ids=str)
def test_core_needs_errors_alone(file):
    assert {layer_of(module) for module in imported_modules(file)} <= {"core", "errors"}


@pytest.mark.parametrize("file", [f for f in FILES if f.parts[1] == "core"], ids=str)
def test_core_does_no_input_or_output(file):
    doers = {"socket", "threading", "time", "pickle", "os", "selectors", "logging", "asyncio"}
    tops = {module.partition(".")[0] for module, _ in imports(parse(file), file)}
    assert not tops & doers


def test_errors_import_nothing_of_ours():
    assert imported_modules(Path("seppo/errors.py")) == set()


def test_worker_host_and_engines_never_meet():
    folders = {"worker", "host", "engines"}
    for file in FILES:
        if file.parts[1] in folders:
            met = {layer_of(module) for module in imported_modules(file)}
            assert not met & (folders - {file.parts[1]}), file


def test_worker_and_host_do_not_know_the_core():
    for file in FILES:
        if file.parts[1] in ("worker", "host"):
            assert "core" not in {layer_of(module) for module in imported_modules(file)}, file


@pytest.mark.parametrize(
    ("library", "home"), [("Pyro5", "seppo/pyro/"), ("cloudpickle", "seppo/values/serialize")]
)
def test_a_library_has_one_home(library, home):
    users = {
        file.as_posix()
        for file in FILES
        for module, _ in imports(parse(file), file)
        if module.partition(".")[0] == library
    }
    assert users
    assert all(user.startswith(home) for user in users), users


@pytest.mark.parametrize("file", FILES, ids=str)
def test_the_package_itself_is_imported_for_its_version_only(file):
    if RANKS[layer_of(module_of(file))] >= RANKS["cli"]:
        return
    tree = parse(file)
    plain = any(module == "seppo" and name is None for module, name in imports(tree, file))
    for module, name in imports(tree, file):
        if module == "seppo" and name is not None:
            assert name == "__version__" or name in RANKS, f"{file}: from seppo import {name}"
    for node in ast.walk(tree):
        if (
            plain
            and isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "seppo"
        ):
            assert node.attr == "__version__", f"{file}: seppo.{node.attr}"


def test_only_the_table_of_engines_knows_which_there_are():
    for file in FILES:
        if file.parts[1] != "engines":
            engines = {m for m in imported_modules(file) if m.startswith("seppo.engines")}
            assert engines <= {"seppo.engines.base", "seppo.engines.table"}, file


def test_no_class_name_stands_for_two_things():
    homes: dict[str, list[str]] = {}
    for file in FILES:
        for node in ast.walk(parse(file)):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(str(file))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_file_is_long(file):
    n_lines = len((ROOT / file).read_text().splitlines())
    assert n_lines <= 400


def attributes(node: ast.ClassDef) -> set[str]:
    """Return what the instances of a class have: declared in its body, or set by a method."""
    found = {
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign)
        and isinstance(each.target, ast.Name)
        and "ClassVar" not in ast.unparse(each.annotation)
    }
    return found | {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }


def classes(file: Path) -> list[ast.ClassDef]:
    return [node for node in ast.walk(parse(file)) if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_class_has_many_attributes(file):
    large = {node.name for node in classes(file) if len(attributes(node)) > 20}
    assert large == set()


@pytest.mark.parametrize("file", [f for f in FILES if f.parts[1] in ("core", "host")], ids=str)
def test_the_state_of_a_class_that_decides_is_written_in_its_own_file_only(file):
    own = set().union(*(attributes(node) for node in classes(file)))
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            assert node.attr in own, f"{file}, line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("file", [f for f in FILES if f.parts[1] == "core"], ids=str)
def test_every_file_of_the_core_has_its_own_test_file(file):
    has_tests = (ROOT / "tests" / "core" / f"test_{file.name}").exists()
    assert has_tests != (file.stem in UNTESTED)


def test_the_proof_of_a_key_loads_no_third_party_package():
    code = (
        "import sys, seppo.trust.proof\n"
        "print({'cloudpickle', 'Pyro5', 'tqdm', 'serpent'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
