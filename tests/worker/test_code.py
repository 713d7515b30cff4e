"""The code that a worker has been sent: asked for once, kept while of use, then gone."""

from __future__ import annotations

import hashlib
import pickle

import pytest

from seppo.payload import importer
from seppo.payload.bundle import Bundle
from seppo.payload.function import PackedFunction
from seppo.payload.manifest import Manifest, ModuleEntry
from seppo.payload.outcome import Failure
from seppo.payload.serialize import Packed
from seppo.worker import code as codes
from seppo.worker.code import CodeStore
from seppo.worker.functions import Known

CALL = b"cshipped_to_worker\nwork\n."  # a pickle by reference


class Client:
    """Somebody who sends functions of one module, in versions."""

    def __init__(self, store: CodeStore) -> None:
        self.store = store

    def known(self, version: object, **modules: str) -> Known:
        """Return a function of a version, whose files are not sent yet."""
        modules = {"shipped_to_worker": f"def work(x): return {version!r}\n", **modules}
        files = {
            name: (hashlib.sha256(text.encode()).hexdigest(), text.encode())
            for name, text in modules.items()
        }
        manifest = Manifest(
            tuple(ModuleEntry(n, digest=d, size=len(c)) for n, (d, c) in sorted(files.items()))
        )
        bundle = Bundle(manifest, dict(files.values()))
        digest = hashlib.sha256(manifest.to_bytes()).digest()
        return Known(PackedFunction(digest, Packed(CALL), manifest.to_bytes(), bundle))

    def use(self, known: Known) -> object:
        """Do what a map does, up to its first result."""
        self.store.use(self, known)
        for digest in self.store.missing(known):
            self.store.add(digest, known.packed.bundle.read(digest.hex()))
        self.store.tidy(lambda _: False)
        self.store.enter(self, known)
        func = self.store.load(known)
        assert not isinstance(func, Failure), func
        return func(0)

    def leave(self, known: Known) -> None:
        self.store.release(self, known.packed.digest)
        self.store.tidy(lambda _: False)


@pytest.fixture
def store():
    store = CodeStore("test")
    yield store
    importer.enter(None)
    store.close()


@pytest.fixture
def client(store):
    return Client(store)


def test_files_are_asked_for_once(client, store):
    one = client.known(1, other_shipped="X = 1\n")
    assert len(store.missing(one)) == 2
    assert client.use(one) == 1
    assert store.missing(one) == ()
    assert len(store.missing(client.known(2, other_shipped="X = 1\n"))) == 1


def test_versions_take_turns_and_each_keeps_its_state(store):
    clients = Client(store), Client(store)
    text = "N = []\ndef work(x):\n    N.append(x)\n    return {}, len(N)\n"
    functions = [
        client.known(n, shipped_to_worker=text.format(n)) for n, client in enumerate(clients)
    ]
    for turn in range(1, 4):
        for n, (client, known) in enumerate(zip(clients, functions, strict=True)):
            assert client.use(known) == (n, turn)


def test_the_old_version_goes_when_its_client_has_a_new_one(client):
    old, new = client.known("old"), client.known("new")
    assert client.use(old) == "old"
    place = old.place
    client.leave(old)
    assert not place.is_dropped
    assert client.use(new) == "new"
    client.leave(new)
    assert place.is_dropped
    assert not place.modules.folder.exists()
    assert not new.place.is_dropped
    assert client.use(old) == "old"  # and is sent again when it is needed


def test_the_old_version_stays_while_it_is_used(client, store):
    old, new = client.known("old"), client.known("new")
    client.use(old)
    client.use(new)
    client.leave(new)
    assert not old.place.is_dropped
    assert client.use(old) == "old"
    client.leave(old)
    assert old.place.is_dropped
    assert not new.place.is_dropped


def test_another_clients_version_is_left_alone(store):
    one, other = Client(store), Client(store)
    first, second = one.known(1), other.known(2)
    one.use(first)
    one.leave(first)
    other.use(second)
    other.leave(second)
    assert not first.place.is_dropped
    assert not second.place.is_dropped


def test_no_more_than_a_few_stay_for_clients_that_have_left(store):
    functions = []
    for version in range(codes.IDLE + 5):
        client = Client(store)
        functions.append(client.known(version))
        client.use(functions[-1])
        store.release(client)
        store.tidy(lambda _: False)
    kept = [known for known in functions if not known.place.is_dropped]
    assert kept == functions[-codes.IDLE :]


def test_what_is_busy_is_not_tidied_away(client, store):
    old, new = client.known("old"), client.known("new")
    client.use(old)
    client.use(new)
    store.release(client, old.packed.digest)
    store.tidy(lambda known: known is old)  # a cancelled item runs on
    assert not old.place.is_dropped
    store.tidy(lambda known: False)
    assert old.place.is_dropped


def test_files_of_a_function_that_waits_are_not_dropped_with_another(client, store):
    shared = "SHARED = 1\n"
    old = client.known("old", other_shipped=shared)
    client.use(old)
    client.leave(old)
    new = client.known("new", other_shipped=shared)
    store.use(client, new)
    for digest in store.missing(new):
        store.add(digest, new.packed.bundle.read(digest.hex()))
    newer = client.known("newer")
    client.use(newer)
    store.tidy(lambda _: False)  # the old one goes
    assert old.place.is_dropped
    assert store.missing(new) == ()


def test_a_file_that_cannot_be_had_fails_the_function_once(client, store):
    known = client.known(1)
    store.refuse(known, "a file", "the disk is full")
    assert store.missing(known) == ()
    store.enter(client, known)
    failure = store.load(known)
    assert isinstance(failure, Failure)
    assert "disk is full" in failure.text
    assert client.use(known) == 1


def test_a_function_that_refers_to_a_missing_module_is_a_failure(store, client):
    known = Known(PackedFunction(b"x" * 32, Packed(b"cnever_shipped\nwork\n.")))
    store.enter(client, known)
    failure = store.load(known)
    assert isinstance(failure, Failure)
    assert failure.type_name == "builtins.ModuleNotFoundError"


def test_functions_without_a_bundle_need_none(store, client):
    known = Known(PackedFunction(b"x" * 32, Packed(pickle.dumps(abs))))
    assert store.missing(known) == ()
    store.enter(client, known)
    assert importer.entered() is None
    assert store.load(known) is abs
