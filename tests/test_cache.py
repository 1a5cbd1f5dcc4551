"""Answers that are kept: how many, and which."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

from jobstatus_grpc.cache import AnswerCache, KeptAnswer
from jobstatus_grpc.model import Position
from jobstatus_grpc.pace import Outlook
from jobstatus_grpc.store.base import Version

KIB = 1024


def kept(size: int, revision: int = 1) -> KeptAnswer:
    return KeptAnswer(Version(1, Position(revision, 7)), bytes(size), Outlook(None, None, 0))


def test_the_answer_kept_last_is_found_and_another_question_has_none() -> None:
    cache: AnswerCache[str] = AnswerCache(100 * KIB)
    cache.keep("a", kept(10))
    cache.keep("a", kept(20, revision=2))
    assert cache.find("a") == kept(20, revision=2)
    assert cache.find("b") is None


def test_what_was_used_last_stays_within_the_bytes_there_are() -> None:
    cache: AnswerCache[int] = AnswerCache(10 * KIB)
    for number in range(100):
        cache.keep(number, kept(KIB))
        assert cache.find(0) is not None
    left = [number for number in range(100) if cache.find(number) is not None]
    # An answer takes more than its bytes.
    assert 4 <= len(left) < 10
    assert left == [0, *range(101 - len(left), 100)]


def test_an_answer_kept_again_does_not_count_twice() -> None:
    cache: AnswerCache[str] = AnswerCache(10 * KIB)
    cache.keep("a", kept(KIB))
    for revision in range(1000):
        cache.keep("b", kept(KIB, revision))
    assert cache.find("a") is not None


def test_small_answers_are_bounded_too() -> None:
    cache: AnswerCache[int] = AnswerCache(100 * KIB)
    for number in range(10_000):
        cache.keep(number, kept(0))
    assert sum(cache.find(number) is not None for number in range(10_000)) < 200


def test_an_answer_larger_than_all_there_is_is_not_kept_and_leaves_room_for_others() -> None:
    cache: AnswerCache[str] = AnswerCache(10 * KIB)
    cache.keep("a", kept(20 * KIB))
    assert cache.find("a") is None
    cache.keep("b", kept(8 * KIB))
    assert cache.find("b") is not None


def test_many_threads_may_use_it() -> None:
    cache: AnswerCache[int] = AnswerCache(20 * KIB)

    def use(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(3000):
            number = draw.randrange(30)
            found = cache.find(number)
            assert found is None or found.version.position.revision == number
            cache.keep(number, kept(draw.randrange(2 * KIB), number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    # Its account is right: as much fits as before.
    for number in range(100, 105):
        cache.keep(number, kept(2 * KIB))
    assert all(cache.find(number) is not None for number in range(100, 105))
