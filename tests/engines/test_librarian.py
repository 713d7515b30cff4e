"""Which files go to whom, and when workers are told that a function is not used any more."""

from dataclasses import replace

from seppo.engines.librarian import Librarian
from seppo.payload.bundle import Bundle
from seppo.payload.function import PackedFunction
from seppo.payload.protocol import File, NeedFiles, Release
from seppo.payload.serialize import Packed

A, B = b"a" * 32, b"b" * 32


def unreadable():
    raise OSError("gone")


BUNDLE = Bundle(contents={A.hex(): b"content", B.hex(): unreadable})
FUNCTION = PackedFunction(b"f" * 32, Packed(b""), b"manifest", BUNDLE)


def test_files_are_given_or_it_is_said_why_not():
    librarian = Librarian()
    request = NeedFiles(FUNCTION.digest, (A, B, b"c" * 32))
    assert librarian.needed(request) == []
    librarian.lend("w", 1, FUNCTION)
    first, second, third = librarian.needed(request)
    assert first == File(A, b"content")
    assert "gone" in second.problem
    assert third.problem


def test_workers_hear_when_the_last_job_with_a_function_is_over():
    librarian = Librarian()
    for job, worker in ((1, "w"), (1, "v"), (2, "w")):
        librarian.lend(worker, job, FUNCTION)
    assert librarian.job_over(1) == [("v", Release(FUNCTION.digest))]
    assert librarian.function(FUNCTION.digest) is FUNCTION
    assert librarian.job_over(2) == [("w", Release(FUNCTION.digest))]
    assert librarian.function(FUNCTION.digest) is None
    assert librarian.job_over(2) == []


def test_functions_without_bundle_or_setup_need_no_word():
    librarian = Librarian()
    plain = replace(FUNCTION, manifest=b"")
    librarian.lend("w", 1, plain)
    assert librarian.job_over(1) == []
    librarian.lend("w", 2, replace(plain, has_setup=True))
    assert librarian.job_over(2) == [("w", Release(FUNCTION.digest))]


def test_a_job_whose_function_has_grown_releases_all_of_them():
    librarian = Librarian()
    grown = replace(FUNCTION, digest=b"g" * 32)
    librarian.lend("w", 1, FUNCTION)
    librarian.lend("w", 1, grown)
    assert {letter for _, letter in librarian.job_over(1)} == {
        Release(FUNCTION.digest), Release(grown.digest)
    }  # fmt: skip


def test_a_worker_that_is_lost_is_forgotten():
    librarian = Librarian()
    librarian.lend("w", 1, FUNCTION)
    librarian.peer_lost("w")
    assert librarian.job_over(1) == []
