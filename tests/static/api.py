"""Every public name as users write it: type-checked, never run."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import seppo
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
    retry = seppo.Retry(3, on=(OSError,), backoff=0.5)
    limited = seppo.map_parallel(
        half,
        [1],
        retries=retry,
        retries_on_loss=0,
        duplicate=False,
        timeout=60.0,
        task_timeout=1.5,
    )
    limited.cancel()
    tried: list[float] = list(seppo.map_parallel_serial(half, [1], retries=3, timeout=5))
    try:
        list(seppo.map_parallel(half, [1], return_exceptions=True, progress={"desc": "x"}))
    except seppo.NoWorkersError as error:
        print(error.delivered, error.undone, error.losses, floats, words, first, serial, tried)
    except seppo.MapTimeoutError as error:
        print(error.seconds, error.delivered, error.undone)
    except seppo.TaskTimeoutError as error:
        print(error.index, error.seconds, error.worker, error.item)
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
            env={"NAME": "value"},
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
    seppo.Executor(retries_on_loss=0, duplicate=True, task_timeout=2.0).shutdown()


def server() -> None:
    seppo.start_seppo_enslaved_server("127.0.0.1", 0, group="g", name="n")
