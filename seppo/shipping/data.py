"""Finding data files again, wherever the code runs."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

_here: dict[str, Path] = {}  # of maps that run in this process, by name


def provide_here(paths: dict[str, Path]) -> None:
    """Have ``data_path`` find these files in this process, too."""
    _here.update(paths)


def provide_only(paths: dict[str, Path]) -> None:
    """Have ``data_path`` find these files in this process, and no others.

    A worker keeps copies of what earlier maps have named. They may be out of date.
    """
    global _here
    _here = dict(paths)


def data_path(name: str) -> Path:
    """Return where a file or directory that ``depends=`` named lies.

    On a worker it is a copy in a folder of the worker's own; in the caller's process, where a
    map runs without workers, it is the original.

    Args:
        name: Its name, without the folders that it lay in; of a file in a directory that
            was named, ``"directory/file"``.

    Raises:
        FileNotFoundError: If the map has not named it.
        ValueError: If the name leads out of that folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute():
        raise ValueError(f"{name!r} is not the name of a file in depends=")
    if parts[0] in _here:
        path = _here[parts[0]].joinpath(*parts[1:])
        if path.exists():
            return path
    raise FileNotFoundError(
        f"there is no data file {name!r}: name its path in depends= of map_parallel"
    )
