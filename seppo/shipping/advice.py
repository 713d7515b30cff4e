"""Advice for import and file errors of workers, in the caller's terms: where, and what helps."""

from __future__ import annotations

import os
import re
import sys

from seppo.shipping.origin import (
    Distribution,
    distribution_of,
    facts_of,
    find_quietly,
    is_own,
    is_standard,
)

# Of a file in a bundle's code folder, see shipping/folders.py: where it lies beside modules.
_BESIDE = re.compile(r"[/\\]bundles[/\\][0-9a-f]{64}[/\\]code[/\\](.+)")
_FROM_PACKAGE = re.compile(r"cannot import name '(\w+)' from ")
_IN_TRACEBACK = re.compile(r'File "[^"\n]*[/\\]bundles[/\\][0-9a-f]{64}[/\\]code[/\\]([^"\n]+)"')


_sent: dict[str, str] = {}  # of a worker: where the modules are that were sent, by name


def note_sent(files: dict[str, str]) -> None:
    """Take note of modules that this worker has from its client."""
    _sent.update(files)


def explain_removed(error: BaseException) -> None:
    """Have the error of an import say, on the worker, that the module was sent and is gone."""
    if not isinstance(error, ImportError):
        return
    from_package = _FROM_PACKAGE.match(str(error))
    name = f"{error.name}.{from_package[1]}" if from_package else error.name
    file = _sent.get(str(name))
    if file is None or os.path.exists(file):
        return
    text = (
        f"the module {name!r} was removed from the worker's cache folder ({file}) while the "
        "function ran; it is sent again for the next chunk"
    )
    error.args = (text,)
    error.msg = text


def explain_missing(error: BaseException, worker: str) -> None:
    """Have the error of a worker's import, or of opening a data file, say what to do.

    Args:
        error: What an item has raised; anything else than an import's own error is left alone.
        worker: Who ran the item.
    """
    if type(error) is FileNotFoundError:
        _explain_file(error, worker)
    if type(error) is not ModuleNotFoundError or not isinstance(error.name, str):
        return
    text = str(error)
    if not text.startswith("No module named") or worker in text:
        return
    text = f"{text} on worker {worker}: {_advice(error.name)}"
    error.args = (text,)
    error.msg = text


def with_own_files(text: str) -> str:
    """Return a worker's traceback with the caller's own files in place of those of a bundle."""
    return _IN_TRACEBACK.sub(_own_file, text)


def _own_file(found: re.Match[str]) -> str:
    parts = re.split(r"[/\\]", found[1].removesuffix(".py"))
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    file = _file_of(name)
    return f'File "{file}"' if file is not None else found[0]


def _explain_file(error: FileNotFoundError, worker: str) -> None:
    found = _BESIDE.search(error.filename) if isinstance(error.filename, str) else None
    text = str(error.strerror)
    if found is None or worker in text:
        return
    package = re.split(r"[/\\]", found[1])[:-1]
    advice = (
        f"the package {package[0]!r} in depends="
        if package
        else "it in depends=, and read it with seppo.data_path()"
    )
    text = (
        f"{text} on worker {worker}, where modules are without the files beside them: name {advice}"
    )
    error.args = (error.errno, text)
    error.strerror = text


def _advice(name: str) -> str:
    top = name.partition(".")[0]
    file = _file_of(top)
    if file is not None and is_own(top, file):
        file = _file_of(name) or file
        return f"it is a module of yours, so pass it in depends= (here it is {file})"
    found = distribution_of(top, file) if file is not None else None
    if found is not None:
        return f"install it there ({_command(found)}), or pass the module in depends="
    if is_standard(top):
        return "it is a part of Python that is missing there"
    return f"install it there (pip install {top}?), or, if it is yours, pass it in depends="


def _file_of(name: str) -> str | None:
    module = sys.modules.get(name)
    facts = facts_of(module) if module is not None else None
    file = facts.get("__file__") if facts is not None else None
    if file is None:
        spec = find_quietly(name)
        file = spec.origin if spec is not None else None
    return file if isinstance(file, str) else None


def _command(found: Distribution) -> str:
    version = "" if found.version == "?" else f"=={found.version}"
    return f"pip install {found.name}{version}"
