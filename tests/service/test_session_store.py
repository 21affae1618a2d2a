"""Tokens and the state of sessions: one rule book, asked of the store in memory and of a real Redis."""

import asyncio
import base64
import json
import time

import pytest

from liveness_service.errors import StoreUnavailableError
from liveness_service.observability.metrics import Metrics
from liveness_service.sessions.redis_store import RedisStore
from liveness_service.sessions.store import MOST_TRIES, Begun, Found, MemoryStore, Refusal, SessionState, Times
from liveness_service.sessions.token import Claims, SessionKeys, SessionKind, new_session_id
from support.redis import running_redis

PHOTO = SessionKind.PHOTO
TIMES = Times(lease_s=0.4, keep_s=0.4)
KEYS = SessionKeys(b"k" * 32)
CLAIMS = Claims("5f" * 16, PHOTO, "strict", 1000, KEYS.mark_of("backend"))

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(params=["memory", "redis"])
async def make(request):
    """Makes stores that share what they keep: of Redis as many as replicas, of memory the same one each time."""
    made = []

    def store(most=100, times=TIMES):
        if request.param == "memory":
            made.append(made[0] if made else MemoryStore(most, times))
        else:
            made.append(RedisStore(request.getfixturevalue("redis").url, most, times, Metrics()))
        return made[-1]

    yield store
    for each in made:
        await each.close()


async def test_a_session_goes_its_way_once(make):
    one, other = make(), make()
    name = new_session_id()
    assert await one.open(name, "backend", PHOTO, 5)
    assert await other.read(name, "backend", take=True) == Found(SessionState.WAITING, PHOTO)
    assert await other.begin(name, "a") == Begun("backend")
    assert await one.begin(name, "b") is Refusal.BUSY
    assert (await one.read(name, "backend", take=True)).state is SessionState.SCORING
    assert not await one.finish(name, "b", "backend", SessionState.SCORED, b"forged")
    assert await other.finish(name, "a", "backend", SessionState.SCORED, b"\x00\xffanswer")
    assert not await other.finish(name, "a", "backend", SessionState.SCORED, b"again")
    assert await one.begin(name, "c") is Refusal.USED
    assert await other.read(name, "stranger", take=True) is None
    assert await other.read(name, "backend", take=False) == Found(SessionState.SCORED, PHOTO)
    assert (await one.read(name, "backend", take=True)).answer == b"\x00\xffanswer"
    assert await other.read(name, "backend", take=True) == Found(SessionState.SCORED, PHOTO, None, was_read=True)


async def test_of_many_that_begin_together_one_does(make):
    stores = [make(), make(), make()]
    name = new_session_id()
    await stores[0].open(name, "backend", SessionKind.CLIP, 5)
    told = await asyncio.gather(*(stores[number % 3].begin(name, str(number)) for number in range(60)))
    assert sorted(map(str, told)) == sorted(["busy"] * 59 + [str(Begun("backend"))])
    name = new_session_id()
    await stores[0].open(name, "backend", PHOTO, 5)
    await stores[0].begin(name, "a")
    await stores[0].finish(name, "a", "backend", SessionState.SCORED, b"answer")
    read = await asyncio.gather(*(stores[number % 3].read(name, "backend", take=True) for number in range(30)))
    assert [each.answer for each in read if each.answer] == [b"answer"]


async def test_what_is_released_waits_again_as_often_as_it_may(make):
    store = make()
    name = new_session_id()
    await store.open(name, "backend", PHOTO, 30)
    for number in range(3 * MOST_TRIES):
        assert await store.begin(name, str(number)) == Begun("backend")
        await store.release(name, "another", counted=True)  # by one who does not hold it
        assert await store.begin(name, "x") is Refusal.BUSY
        await store.release(name, str(number), counted=False)
    for number in range(MOST_TRIES):
        assert await store.begin(name, str(number)) == Begun("backend")
        await store.release(name, str(number), counted=True)
    assert await store.begin(name, "one more") is Refusal.USED


async def until(asked, wanted, seconds=10):
    """Ask again until the answer is the wanted one: how fast the machine is decides nothing."""
    end = time.monotonic() + seconds
    while (told := await asked()) != wanted:
        assert time.monotonic() < end, told
        await asyncio.sleep(0.02)


async def test_each_state_ends_with_its_time(make):
    store = make()
    waiting, lost, scored = (new_session_id() for _ in range(3))
    await store.open(waiting, "backend", PHOTO, 0.1)
    for name in (lost, scored):
        await store.open(name, "backend", PHOTO, 30)
        assert await store.begin(name, "a") == Begun("backend")
    assert await store.finish(scored, "a", "backend", SessionState.SCORED, b"answer")
    await until(lambda: store.read(waiting, "backend", take=True), Found(SessionState.EXPIRED, PHOTO))
    assert await store.begin(waiting, "a") in (Refusal.EXPIRED, Refusal.GONE)
    await until(lambda: store.read(lost, "backend", take=True), Found(SessionState.FAILED, PHOTO))
    assert await store.begin(lost, "b") is Refusal.USED
    assert not await store.finish(lost, "a", "backend", SessionState.SCORED, b"late")
    await until(lambda: store.read(scored, "backend", take=False), None)
    await until(lambda: store.read(waiting, "backend", take=True), None)
    assert await store.begin(waiting, "a") is Refusal.GONE


async def test_a_caller_has_its_number_of_sessions_until_they_are_gone(make):
    store = make(most=2, times=Times(1, 0.1))
    for caller in ("one", "two"):
        assert await store.open(new_session_id(), caller, PHOTO, 0.5)
        assert await store.open(new_session_id(), caller, PHOTO, 30)
        assert not await store.open(new_session_id(), caller, PHOTO, 30)
    await until(lambda: store.open(new_session_id(), "one", PHOTO, 30), True)
    assert not await store.open(new_session_id(), "one", PHOTO, 30)


async def test_a_file_is_new_once_in_its_window(make):
    one, other = make(), make()
    digest = KEYS.digest_of_file("backend", b"picture")
    assert [await one.is_new(digest, 30), await other.is_new(digest, 30)] == [True, False]
    assert await one.is_new(KEYS.digest_of_file("another", b"picture"), 30)
    await one.forget(digest)
    assert await other.is_new(digest, 0.1)
    await until(lambda: one.is_new(digest, 30), True)


async def test_memory_is_given_back():
    clock = [0.0]
    store = MemoryStore(10_000, TIMES, lambda: clock[0])
    for number in range(1000):
        await store.open(str(number), f"caller-{number}", PHOTO, 1)
        await store.is_new(str(number), 1)
    assert len(store) == 2000
    clock[0] = 3
    await store.open("new", "caller", PHOTO, 1)
    assert len(store) == 1


async def test_while_redis_does_not_answer_nothing_works_even_once(tmp_path):
    metrics = Metrics()
    with running_redis(tmp_path) as own:
        store = RedisStore(own.url, 100, Times(5, 5), metrics)
        await store.open("a", "backend", PHOTO, 5)
        own.freeze()
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="LIVENESS_SESSION_STORE"):
            await store.open("b", "backend", PHOTO, 5)
        assert time.monotonic() - began < 5
        own.thaw()
        assert await store.begin("a", "x") == Begun("backend")
        own.stop()
        for asked in (store.begin("a", "y"), store.read("a", "backend", take=True), store.is_new("x", 1)):
            with pytest.raises(StoreUnavailableError):
                await asked
        await store.close()
    assert metrics.registry.get_sample_value("liveness_session_store_failures_total") == 4
    with pytest.raises(ValueError, match="not an address") as raised:
        RedisStore("redis://:secret@host:port", 1, TIMES, metrics)
    assert "secret" not in str(raised.value)


async def test_what_redis_holds_says_nothing_of_the_picture_and_no_answer_can_be_put_there(redis):
    sealed = KEYS.seal_answer("one", b'{"verdict": "live"}')
    assert KEYS.open_answer("one", sealed) == b'{"verdict": "live"}'
    assert KEYS.open_answer("two", sealed) is None
    assert KEYS.open_answer("one", sealed[:-1] + b" ") is None
    assert KEYS.open_answer("one", b"") is None
    assert SessionKeys(b"j" * 32).open_answer("one", sealed) is None
    digests = {KEYS.digest_of_file(caller, b"picture") for caller in ("a", "b")} | {
        SessionKeys(b"j" * 32).digest_of_file("a", b"picture")
    }
    assert len(digests) == 3


async def test_a_token_says_what_it_is_for_and_any_change_of_it_is_noticed():
    token = KEYS.sign(CLAIMS)
    assert KEYS.verify(token) == CLAIMS
    assert token.startswith("lvs1_")
    assert "backend" not in str(base64.urlsafe_b64decode(token[5:].split(".")[0] + "=="))
    assert SessionKeys(b"j" * 32).verify(token) is None
    for place in range(len(token)):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert KEYS.verify(changed) is None, place
    body = json.dumps(["5f" * 16, "photo", None, 10**9, CLAIMS.caller_mark]).encode()
    other = base64.urlsafe_b64encode(body).decode().rstrip("=")
    made = (f"lvs1_{other}.{token.split('.')[1]}", f"lvs1_{other}.", f"lvs1_{other}")
    for forged in (
        *made, "", "lvs1_", ".", "lvs1_.", token[:-1], token + "A", token + "=", token.upper(), "lv_" + token[5:],
        "lvs1_é.é", "lvs1_\udc80.\udc80", token * 9,
    ):  # fmt: skip
        assert KEYS.verify(forged) is None, forged
    unreadable = base64.urlsafe_b64encode(b'["of", "another", "version"]').decode().rstrip("=")
    assert KEYS.verify(f"lvs1_{unreadable}.{KEYS._seal(unreadable)}") is None
