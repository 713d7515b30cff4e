"""Every exception of seppo: how it travels, what it says, and what else it is."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import BrokenExecutor

import pytest

from seppo import errors

SAMPLES: dict[type[BaseException], tuple[object, ...]] = {
    errors.SeppoError: ("something",),
    errors.ConfigurationError: ("chunksize", "0", "1 or more is needed"),
    errors.InternalError: ("two jobs of one number",),
    errors.MapTimeoutError: (2.5, 3, 4),
    errors.NameServerError: ("127.0.0.1:9090", "connection refused"),
    errors.NoWorkersError: ("all workers are lost", 3, 4, ("w1: SIGKILL", "w2: SIGSEGV")),
    errors.ProtocolError: ("not a frame",),
    errors.RemoteError: ("mod.Odd", "boom", "Traceback ...", "its constructor wants two"),
    errors.RemoteTraceback: ("Traceback (most recent call last): ...",),
    errors.SecurityError: ("the key is wrong; see SEPPO_KEY",),
    errors.SerializationError: ("item 7", "TypeError: a lock", "open it in the function"),
    errors.SetupError: ("seppo.host.ab12", "the initializer", "OSError: no such device"),
    errors.TaskTimeoutError: (7, 1.5, "seppo.host.ab12", "'x.png'"),
    errors.WorkerLostError: (7, "seppo.host.ab12", "SIGSEGV", 3, "'x.png'"),
}
EVERY = sorted(errors.__all__)


def sample(name: str) -> BaseException:
    kind = getattr(errors, name)
    return kind(*SAMPLES[kind])


def test_every_class_of_the_module_is_public():
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == "seppo.errors"
    }
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("protocol", [2, 5])
def test_pickling_keeps_class_arguments_attributes_and_text(name, protocol):
    error = sample(name)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is type(error)
    assert again.args == error.args == SAMPLES[type(error)]
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("name", EVERY)
def test_copying_works(name):
    error = sample(name)
    assert copy.copy(error).args == copy.deepcopy(error).args == error.args


@pytest.mark.parametrize("name", EVERY)
def test_all_derive_from_the_base(name):
    # The remote traceback is a cause that is shown, never an error that is caught.
    is_ours = issubclass(getattr(errors, name), errors.SeppoError)
    assert is_ours == (name != "RemoteTraceback")


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigurationError", ValueError),
        ("NameServerError", ConnectionError),
        ("NoWorkersError", BrokenExecutor),
        ("WorkerLostError", BrokenExecutor),
        ("SerializationError", TypeError),
        ("SetupError", RuntimeError),
        ("SecurityError", PermissionError),
        ("TaskTimeoutError", TimeoutError),
        ("MapTimeoutError", TimeoutError),
    ],
)
def test_it_is_also_the_builtin_that_users_catch(name, builtin):
    assert isinstance(sample(name), builtin)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("ConfigurationError", "1 or more is needed"),
        ("InternalError", "please report"),
        ("NameServerError", "PYRO_NS_HOST"),
        ("NoWorkersError", "seppo worker"),
        ("SerializationError", "open it in the function"),
        ("WorkerLostError", "map_parallel_serial"),
    ],
)
def test_the_message_says_what_to_try(name, advice):
    assert advice in str(sample(name))


@pytest.mark.parametrize("name", EVERY)
def test_the_message_holds_every_argument_that_is_not_a_traceback(name):
    error = sample(name)
    for value in SAMPLES[type(error)]:
        if isinstance(value, str) and not value.startswith("Traceback"):
            assert value in str(error)


def test_a_lost_worker_names_item_worker_and_reason():
    text = str(errors.WorkerLostError(7, "w1", "SIGSEGV", 1))
    assert "item 7 was begun once, and its worker was lost (w1: SIGSEGV);" in text
    text = str(errors.WorkerLostError(7, "w1", "SIGSEGV", 3))
    assert "item 7 was begun 3 times, and its workers were lost" in text
    assert "w1: SIGSEGV" in text


def test_no_workers_names_what_was_done_and_who_was_lost():
    text = str(errors.NoWorkersError("all are lost", 3, None, ("w1: SIGKILL",)))
    assert "3 items were delivered, an unknown number were not done" in text
    assert "w1: SIGKILL" in text
    assert "delivered" not in str(errors.NoWorkersError("nobody is registered"))


def test_a_map_out_of_time_says_what_was_done():
    text = str(errors.MapTimeoutError(2.5, 3, None))
    assert "2.5 s; 3 items were delivered, an unknown number were not done" in text


def test_a_remote_error_without_text_is_its_type():
    assert str(errors.RemoteError("mod.Odd", "", "")) == "mod.Odd"


def test_a_remote_traceback_begins_on_a_line_of_its_own():
    assert str(errors.RemoteTraceback("Traceback")) == "\nTraceback"
