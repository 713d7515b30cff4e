"""Projects that the caller's own modules belong to, as ``importlib.metadata`` knows them at home.

A project that is installed in place (``pip install --editable``) has its metadata in a site
and its modules elsewhere; one that was built once has metadata beside its modules. Name and
version of these travel with the modules, so that ``importlib.metadata.version(__name__)``
works on the workers as well.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from seppo.shipping.origin import SITES, Distribution, metadata_in, read_distribution


def projects_of(files: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return names and versions of the projects that files of modules belong to, sorted."""
    return _projects_of(frozenset(str(Path(file).parent) for file in files), tuple(sys.path))


@lru_cache(maxsize=256)
def _projects_of(folders: frozenset[str], places: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    roots = {str(root) for folder in folders for root in (Path(folder), *Path(folder).parents)}
    for root, project in _in_place(places):
        if root in roots:
            found[project.name] = project.version
    for place in places:
        if place in roots and Path(place).name not in SITES:
            for entry in metadata_in(place):
                project = read_distribution(entry)
                found.setdefault(project.name, project.version)
    return tuple(sorted(found.items()))


@lru_cache(maxsize=8)
def _in_place(places: tuple[str, ...]) -> tuple[tuple[str, Distribution], ...]:
    """Return the folders of projects that are installed in place, with what they are."""
    found = []
    for place in places:
        for entry in metadata_in(place):
            try:
                told = json.loads((entry / "direct_url.json").read_bytes())
                is_in_place = told["dir_info"].get("editable") is True
                path = unquote(urlsplit(told["url"]).path)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
            if is_in_place:
                found.append((str(Path(path)), read_distribution(entry)))
    return tuple(found)
