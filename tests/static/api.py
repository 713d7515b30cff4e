"""Every public name as users write it: type-checked, never run."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import seppo
import seppo.testing
from seppo.errors import SeppoError


def half(x: int) -> float:
    return x / 2


def join(a: str, b: int) -> str:
    return a * b


def maps() -> None:
    floats: list[float] = list(seppo.map_parallel(half, range(3)))
    words: Iterator[str] = iter(seppo.map_parallel(join, ["a"], [2], chunksize=1, buffersize=4))
    with seppo.map_parallel(half, [1], ordered=False, progress=True, group="g") as results:
        first: float = next(results)
    serial: list[float] = list(seppo.map_parallel_serial(half, [1], fallback="error"))
    try:
        list(seppo.map_parallel(half, [1], return_exceptions=True, progress={"desc": "x"}))
    except seppo.NoWorkersError as error:
        print(error.delivered, error.undone, error.losses, floats, words, first, serial)
    except (seppo.WorkerLostError, seppo.RemoteError, SeppoError):
        raise


def surroundings() -> None:
    floats: list[float] = list(
        seppo.map_parallel(
            half,
            [1],
            depends=[asyncio, join, "data.csv", Path("folder")],
            initializer=print,
            initargs=("ready",),
            finalizer=lambda: None,
            cleanup=False,
        )
    )
    path: Path = seppo.data_path("data.csv")
    try:
        list(seppo.map_parallel_serial(half, [1], depends=()))
    except seppo.SetupError as error:
        print(error.worker, error.what, error.reason, floats, path)


def executor() -> None:
    with seppo.Executor(max_workers=2, group="g") as pool:
        future = pool.submit(join, "a", 2)
        text: str = future.result(timeout=1.0)
        asyncio.wrap_future(future)
        floats: list[float] = list(pool.map(half, [1, 2]))
        print(text, floats)


def server() -> None:
    seppo.start_seppo_enslaved_server("127.0.0.1", 0, group="g", name="n")
