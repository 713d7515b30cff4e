"""``map_parallel``: its arguments become a job of the driver, and an iterator comes back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from seppo.driver import Driver, JobHandle
from seppo.errors import NameServerError, NoWorkersError
from seppo.interfaces.drivers import driver_for
from seppo.interfaces.here import Deadline
from seppo.interfaces.inputs import Reader, growth_of, length_of
from seppo.interfaces.iterator import ParallelMap
from seppo.interfaces.mailbox import Mailbox
from seppo.interfaces.options import MapOptions, Progress
from seppo.interfaces.progress import meter_for
from seppo.interfaces.results import MapResults
from seppo.interfaces.serial import SerialMap
from seppo.place import is_nested, level_of_caller
from seppo.settings import Settings
from seppo.values.function import pack_function
from seppo.values.retry import Retry, retrying
from seppo.values.source import ItemSource, SequenceSource, StreamSource, is_sliceable
from seppo.wire.address import location_of

R = TypeVar("R")

FIRST_LOOK = 0.005  # seconds; so long the call itself reads an input, before any next()

_has_warned = False


def map_parallel(
    func: Callable[..., R],
    *iterables: Iterable[Any],
    chunksize: int | None = None,
    buffersize: int | None = None,
    ordered: bool = True,
    return_exceptions: bool = False,
    retries: int | Retry = 0,
    retries_on_loss: int = 2,
    duplicate: bool = True,
    timeout: float | None = None,
    task_timeout: float | None = None,
    progress: Progress = None,
    group: str | None = None,
    fallback: str = "serial",
    depends: Iterable[Any] = (),
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
    finalizer: Callable[[], object] | None = None,
    env: Mapping[str, str] | None = None,
) -> ParallelMap[R] | SerialMap[R]:
    """Return an iterator over ``func`` of each item, computed on all workers.

    Like builtin ``map``: the shortest of several iterables ends it, results come in
    input order, and an item's exception is raised where its result would have come,
    after which iteration goes on with the next item. Unlike ``map``, work begins at the
    call.

    Args:
        func: Any callable: it travels with what it refers to. An importable function of
            an installed package travels by name.
        *iterables: The arguments of ``func``. Lists, tuples, ranges, strings and NumPy
            arrays are sliced where they lie; anything else is iterated over in the
            thread that calls this function and ``next()``, a little ahead of the results.
        chunksize: Items sent together; by default measured cost decides.
        buffersize: Most items taken from the input beyond the results handed out; 1
            never reads ahead of a result that was not handed out. By default about four
            chunks for each worker.
        ordered: False hands out results as they come.
        return_exceptions: Hand out exceptions of items as values in their places.
        retries: How often an item that raises is tried again, on the worker; or a
            ``seppo.Retry``, which also tells after which exceptions, and with what pauses.
        retries_on_loss: How often an item is begun again after its worker was lost while
            running it. Then it raises ``WorkerLostError`` at its place. Other items of a
            lost worker are run elsewhere without being counted.
        duplicate: Whether an item that takes much longer than the others, or whose worker
            is silent, may be run by a second worker as well; the first answer wins. With
            False an item moves only after its worker is known to be dead; together with
            ``retries_on_loss=0`` each item begins at most once.
        timeout: Seconds from the call after which ``next()`` raises ``MapTimeoutError``
            if the map is not done, and the workers drop it. None for no limit.
        task_timeout: Seconds that one item may run, all its retries together; then it is
            interrupted, its worker ends with it, and it raises ``TaskTimeoutError`` at its
            place. None for no limit.
        progress: True for a tqdm bar, a string for a bar with this description, a dict
            of tqdm's keywords, a tqdm class, or a callable that gets ``(done, total)``;
            ``total`` is None if nobody knows.
        group: Use the workers of this group.
        fallback: What to do where no worker is registered, or when all workers are gone
            and none comes back for 20 seconds: ``"serial"`` runs the items in this
            process, with a warning, but none that may have killed a worker: those raise
            ``WorkerLostError``. ``"error"`` raises ``NoWorkersError``.
        depends: What travels besides: modules, packages, functions and classes, which
            ``func`` then finds as globals, and paths of files and directories, which it
            finds with ``seppo.data_path(name)``, on other machines also relative to its
            working folder, and which are its own there.
        initializer: Called once on each worker before its first item. It is not called
            again for another map with the same function and initializer, unless there
            is a ``finalizer``.
        initargs: The arguments of ``initializer``.
        finalizer: Called on each of these workers when the map is over, however it ends.
        env: Environment variables to set on the workers, before anything of yours is imported
            there. All others are those that the worker was started with.

    Returns:
        An iterator, also a context manager, with ``close()``, ``cancel()``, and ``len()``
        where the inputs have one. When it is closed or deleted, workers drop what is left.

    Raises:
        SerializationError: If ``func`` cannot be pickled.
        NoWorkersError: With ``fallback="error"``, at the call and from ``next()``; without
            it from ``next()``, when all workers are gone and several items are known to
            have killed theirs: then nothing of it is run in this process.
        SetupError: From ``next()``, once, if ``initializer`` fails or a file cannot be sent.
        ProtocolError: If there are workers, but none that this client can work with.
        SecurityError: If there are workers with our key, but none can prove that it has it.
        ValueError, TypeError: If an argument makes no sense.

    Inside a worker the map runs serially, unless ``group`` names another group.

    >>> list(map_parallel_serial(pow, [2, 3], [5, 2]))
    [32, 9]
    """
    options = MapOptions.of(locals())
    _check(func, iterables)
    if is_nested(group):
        return SerialMap.over(func, iterables, options)
    settings = Settings.load(group=options.group)
    driver = _driver(settings, options.fallback)
    if driver is None:
        return SerialMap.over(func, iterables, options)
    return _start(driver, settings, func, iterables, options)


def map_parallel_serial(
    func: Callable[..., R],
    *iterables: Iterable[Any],
    chunksize: int | None = None,
    buffersize: int | None = None,
    ordered: bool = True,
    return_exceptions: bool = False,
    retries: int | Retry = 0,
    retries_on_loss: int = 2,
    duplicate: bool = True,
    timeout: float | None = None,
    task_timeout: float | None = None,
    progress: Progress = None,
    group: str | None = None,
    fallback: str = "serial",
    depends: Iterable[Any] = (),
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
    finalizer: Callable[[], object] | None = None,
    env: Mapping[str, str] | None = None,
) -> SerialMap[R]:
    """Return what ``map_parallel`` returns, computed in this process by builtin ``map``.

    For debugging, tests and comparison. The arguments are those of ``map_parallel``;
    no worker is looked for. ``timeout`` is looked at before each item; ``task_timeout``,
    ``retries_on_loss`` and ``duplicate`` mean nothing here.

    >>> list(map_parallel_serial(abs, [-1, 2]))
    [1, 2]
    """
    options = MapOptions.of(locals())
    _check(func, iterables)
    return SerialMap.over(func, iterables, options)


def _check(func: Callable[..., Any], iterables: tuple[Iterable[Any], ...]) -> None:
    if not iterables:
        raise TypeError("map_parallel() must have at least two arguments.")
    if not callable(func):
        raise TypeError(f"{type(func).__name__!r} object is not callable")


def _driver(settings: Settings, fallback: str) -> Driver | None:
    """Return the driver, or None where the map is to run serially."""
    try:
        driver = driver_for(settings)
        reason = (
            f"no worker of group {settings.group!r} is registered at the name server at "
            f"{location_of(settings.ns_host, settings.ns_port)}"
        )
    except NameServerError as error:
        driver, reason = None, f"no name server answers ({error.reason})"
    if driver is None:
        if fallback == "error":
            raise NoWorkersError(reason)
        _warn_once(reason)
    return driver


def _warn_once(reason: str) -> None:
    global _has_warned
    if not _has_warned:
        _has_warned = True
        warnings.warn(
            f"seppo runs this map in this process alone: {reason}. For workers, start "
            "'seppo nameserver' and 'seppo worker', or run the script with 'seppo run'",
            RuntimeWarning,
            stacklevel=level_of_caller(),
        )


def _start(
    driver: Driver,
    settings: Settings,
    func: Callable[..., R],
    iterables: tuple[Iterable[Any], ...],
    options: MapOptions,
) -> ParallelMap[R]:
    deadline = Deadline(options.timeout)
    func = retrying(func, options.retry)
    function = pack_function(func, options.setup)
    mailbox = Mailbox()
    length = length_of(iterables)
    in_memory = length is not None and all(map(is_sliceable, iterables))
    policy = options.policy(
        max_ahead_bytes=settings.lookahead_bytes,
        keeps_input=in_memory,
        likeness=function.digest,
    )
    rows: Iterator[tuple[Any, ...]] | None = None
    grown: Callable[[], int] | None = None
    source: ItemSource
    if length is not None and in_memory:
        source, grown = SequenceSource(function, iterables), growth_of(iterables, length)
    else:
        rows = zip(*iterables, strict=False)  # raises here what is not iterable, like map()
        source = StreamSource(function, len(iterables))
    job: JobHandle | None = None
    meter = meter_for(options.progress, length)
    try:
        if meter is not None:
            meter.show(0, length)
        job = driver.open(source, mailbox.put, policy)
        reader = None
        if isinstance(source, StreamSource) and rows is not None:
            reader = Reader(rows, source, job, options.buffersize)
        results = MapResults(job, mailbox, length, options, func, deadline, reader, meter, grown)
        made: ParallelMap[R] = ParallelMap.over(results)
        if reader is not None:
            reader.read_first(driver.n_workers, FIRST_LOOK)
        elif length is not None:
            job.offered, job.ended = length, True
            job.tell()
        return made
    except BaseException:  # Ctrl-C, or a meter: no caller holds the map, or can close it
        if job is not None:
            job.close()
        if meter is not None:
            meter.close()
        raise
