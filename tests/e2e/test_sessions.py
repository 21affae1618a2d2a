"""Capture sessions on two real replicas with one real Redis: a token works once, and a thousand misuses do not work."""

import asyncio
import json
import secrets
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from redis import Redis

from support.pictures import astronaut, encoded
from support.privacy import disguises
from support.redis import running_redis
from support.requests import bearer, make_keys
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

# Two services, for what tests/service/test_session_store.py and api/test_sessions.py ask of their parts.
pytestmark = pytest.mark.slow

KEYS, ENTRIES = make_keys(backend="score", other="score")
PHOTO = encoded(astronaut(), quality=80)
"""Small, so that a thousand of them are sent quickly."""
BACKEND = bearer(KEYS["backend"])


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """URLs of two services that share sessions, and their Redis."""
    folder = tmp_path_factory.mktemp("replicas")
    make_tiny_bundle(folder / "tiny", bias=5)
    (folder / "key").write_text(secrets.token_hex(32))
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis(folder))
        settings = {
            "bundle_path": str(folder / "tiny"),
            "api_keys": ENTRIES,
            "session_store": redis.url,
            "session_key_file": str(folder / "key"),
            "workers": "0",
            # A busy machine must not be taken for a refusal.
            "deadline_ms": "120000",
            "upload_timeout_ms": "120000",
            "min_upload_rate": "0",
        }
        (folder / "a").mkdir()
        (folder / "b").mkdir()
        with ThreadPoolExecutor(2) as pool:  # they start side by side
            started = [
                pool.submit(stack.enter_context, running_server(folder / name, **settings)) for name in ("a", "b")
            ]
            servers = [each.result() for each in started]
        yield [server.url for server in servers], redis


def opened(client, url, **wanted):
    response = client.post(f"{url}/v1/sessions", json={"kind": "photo"} | wanted, headers=BACKEND)
    assert response.status_code == 201, response.text
    return response.json()


def upload(client, url, session, token=None, content=PHOTO):
    return client.post(url + session["upload_url"], content=content, headers=bearer(token or session["token"]))


def read(client, url, session):
    return client.get(f"{url}/v1/sessions/{session['session_id']}", headers=BACKEND)


def code_of(response):
    return response.status_code, response.json().get("code")


def test_opened_here_uploaded_there_and_read_once_by_either(replicas):
    (one, other), _ = replicas
    with httpx.Client(timeout=30) as client:
        session = opened(client, one)
        assert upload(client, other, session).json() == {"session_id": session["session_id"], "state": "scored"}
        for url in (one, other):
            assert code_of(upload(client, url, session)) == (409, "session_used")
        answer = read(client, one, session).json()
        assert (answer["state"], answer["result"]["verdict"]) == ("scored", "live")
        for url in (one, other):
            assert code_of(read(client, url, session)) == (410, "session_read")


def test_a_thousand_misuses_let_none_through(replicas):
    """Reuse, forgery, another session's token, late, and at once on both replicas: who got through."""
    urls, _ = replicas
    tried, through = asyncio.run(_misuse(urls))
    assert tried == {"reuse": 250, "forged": 250, "swapped": 200, "late": 100, "parallel": 200}
    assert through == Counter()


async def _misuse(urls):
    tried, through, gate = Counter(), Counter(), asyncio.Semaphore(8)
    async with httpx.AsyncClient(timeout=60) as client:

        async def open_one(**wanted):
            made = await client.post(f"{urls[0]}/v1/sessions", json={"kind": "photo"} | wanted, headers=BACKEND)
            assert made.status_code == 201, made.text
            return made.json()

        async def send(what, number, session, token, content=PHOTO):
            async with gate:
                url = urls[number % 2] + session["upload_url"]
                response = await client.post(url, content=content, headers=bearer(token))
            tried[what] += 1
            return response.status_code, response.json().get("code")

        async def refused(what, number, session, token, *allowed):
            # Not a picture: whoever is let through hears 415, which is no refusal of a token.
            if await send(what, number, session, token, b"x") not in allowed:
                through[what] += 1

        late = [await open_one(ttl_s=1) for _ in range(4)]
        is_late = time.monotonic() + 1.1
        used = [await open_one() for _ in range(5)]
        fresh = [await open_one() for _ in range(10)]
        for number, session in enumerate(used):  # the first ones count as no misuse
            assert (await send("used", number, session, session["token"]))[0] == 202
        del tried["used"]
        again = (409, "session_used")
        await asyncio.gather(
            *(refused("reuse", n, used[n % 5], used[n % 5]["token"], again) for n in range(250)),
            *(refused("forged", n, fresh[n % 10], _forged(n, fresh[n % 10]["token"]), NO_TOKEN) for n in range(250)),
            *(refused("swapped", n, fresh[n % 10], fresh[(n + 1 + n % 9) % 10]["token"], NO_TOKEN) for n in range(200)),
        )
        await asyncio.sleep(max(0.0, is_late - time.monotonic()))
        expired = (410, "session_expired")
        await asyncio.gather(*(refused("late", n, late[n % 4], late[n % 4]["token"], expired) for n in range(100)))
        # Ten sessions, twenty uploads each, on both replicas at once: one of the twenty is the use that is allowed.
        for session in fresh:
            statuses = await asyncio.gather(*(send("parallel", n, session, session["token"]) for n in range(20)))
            through["parallel"] += statuses.count((202, None)) - 1
            assert set(statuses) <= {(202, None), again, (409, "session_in_use")}, statuses
        for session in fresh:
            told = await client.get(f"{urls[0]}/v1/sessions/{session['session_id']}", headers=BACKEND)
            assert told.json()["result"]["verdict"] == "live"
    return tried, +through


NO_TOKEN = (401, "invalid_token")


def _forged(number, token):
    """A token with a character changed, cut, sealed by somebody else, or made up."""
    place = 5 + number % (len(token) - 5)
    body, seal = token.split(".")
    return (
        token[:place] + ("x" if token[place] != "x" else "y") + token[place + 1 :],
        token[:place],
        f"{body}.{secrets.token_urlsafe(32)}",
        f"lvs1_{secrets.token_urlsafe(60)}.{seal}",
        KEYS["backend"],
    )[number % 5]


def test_redis_holds_states_and_answers_and_neither_pictures_nor_tokens(replicas):
    (one, _), started = replicas
    with httpx.Client(timeout=30) as client, Redis.from_url(started.url) as redis:
        session = opened(client, one)
        upload(client, one, session)
        kept = redis.hgetall(f"liveness:session:{session['session_id']}")
        assert (kept[b"state"], kept[b"caller"]) == (b"scored", b"backend")
        assert b'"verdict":"live"' in kept[b"answer"]
        everything = b"".join(redis.dump(key) or b"" for key in redis.scan_iter())
        assert all(redis.pttl(key) > 0 for key in redis.scan_iter())
        assert len(everything) > len(kept[b"answer"])
        for piece in (PHOTO[200:224], PHOTO[-80:-56], session["token"][-24:].encode(), KEYS["backend"].encode()):
            assert not any(form in everything for form in disguises(piece))
        # Somebody who may write there makes a used session new, and still cannot make a verdict.
        changed = kept[b"answer"].replace(b'"score":0', b'"score":1')
        redis.hset(f"liveness:session:{session['session_id']}", "answer", changed)
        assert code_of(read(client, one, session)) == (503, "store_unavailable")


def test_without_redis_no_token_works_and_plain_uploads_do(replicas):
    (one, other), redis = replicas
    with httpx.Client(timeout=30) as client:
        session = opened(client, one)
        redis.freeze()
        try:
            asked = (
                client.post(f"{one}/v1/sessions", json={"kind": "photo"}, headers=BACKEND),
                upload(client, other, session),
                read(client, one, session),
            )
            assert [code_of(each) for each in asked] == [(503, "store_unavailable")] * 3
            assert {each.headers["retry-after"] for each in asked} == {"5"}
            assert client.post(f"{one}/v1/liveness", content=PHOTO, headers=BACKEND).json()["verdict"] == "live"
            assert client.get(f"{one}/health/ready").status_code == 200
        finally:
            redis.thaw()
        # What Redis was told while it hung it may do now: a token is then lost, and never good twice.
        told = [code_of(upload(client, url, session)) for url in (one, other)]
        assert told in ([(202, None), (409, "session_used")], [(409, "session_in_use")] * 2), json.dumps(told)
