"""One-time capture sessions over HTTP: what each side is told, what uses a token up, and what does not."""

import asyncio
import json
import logging
from datetime import UTC, datetime

import pytest

from liveness_service.access.policy import AccessError
from liveness_service.app import create_app
from liveness_service.observability.logs import configure_logging
from liveness_service.sessions.store import MOST_TRIES
from liveness_service.sessions.token import Claims, SessionKeys, SessionKind, new_session_id
from liveness_service.settings import Settings
from support.clips import person_clip
from support.pictures import encoded, no_face
from support.requests import DARKER, PHOTO, URL, Chunks, as_form, bearer, make_keys
from support.tiny_bundle import make_tiny_bundle

KEYS, ENTRIES = make_keys(backend="score", other="score", prometheus="operations")
BACKEND = bearer(KEYS["backend"])
APP = "https://app.example.com"


@pytest.fixture(scope="module")
def api(serve, tmp_path_factory):
    """One service with keys that scores photos and clips, for tests that leave only sessions behind."""
    folder = tmp_path_factory.mktemp("sessions")
    make_tiny_bundle(folder / "tiny", bias=5, temporal=True)
    with serve(
        bundle_path=folder / "tiny",
        api_keys=ENTRIES,
        cors_origins=APP,
        session_ttl_s=100,
        audit_log_path=folder / "audit.jsonl",
        max_upload_bytes=2_000_000,
    ) as client:
        client.audit = folder / "audit.jsonl"
        yield client


def opened(client, headers=BACKEND, **wanted):
    response = client.post("/v1/sessions", json={"kind": "photo"} | wanted, headers=headers)
    assert response.status_code == 201, response.text
    return response.json()


def upload(client, session, content=PHOTO, **more):
    return client.post(session["upload_url"], content=content, headers=bearer(session["token"]), **more)


def read(client, session, headers=BACKEND):
    return client.get(f"/v1/sessions/{session['session_id']}", headers=headers)


def test_the_browser_hears_that_it_was_scored_and_the_back_end_what_came_out_once(api, problem_of):
    before = datetime.now(UTC)
    session = opened(api)
    assert set(session) == {"session_id", "token", "kind", "expires_at", "upload_url"}
    assert 99 < (datetime.fromisoformat(session["expires_at"]) - before).total_seconds() < 105
    assert read(api, session).json() == {
        "session_id": session["session_id"], "kind": "photo", "state": "waiting", "result": None, "problem": None
    }  # fmt: skip
    told = upload(api, session)
    assert (told.status_code, told.json()) == (202, {"session_id": session["session_id"], "state": "scored"})
    head = api.head(f"/v1/sessions/{session['session_id']}", headers=BACKEND)
    assert (head.status_code, head.content) == (200, b"")  # whoever looks takes nothing away
    answer = read(api, session).json()
    plain = api.post(URL, content=PHOTO, headers=BACKEND).json()
    assert answer["state"] == "scored"
    assert answer["result"].keys() == plain.keys()
    assert {**answer["result"], "request_id": 0, "timings_ms": 0} == {**plain, "request_id": 0, "timings_ms": 0}
    problem_of(read(api, session), 410, "session_read")
    problem_of(upload(api, session), 409, "session_used")


def test_a_session_of_a_clip_takes_a_clip_by_form_and_no_photo(api, problem_of):
    session = opened(api, kind="clip")
    form = {"video": ("clip.mp4", person_clip(), "video/mp4")}
    assert api.post(session["upload_url"], files=form, headers=bearer(session["token"])).status_code == 202
    result = read(api, session).json()["result"]
    assert (result["verdict"], len(result["frames"])) == ("live", 8)
    photo = opened(api, kind="clip")
    problem_of(upload(api, photo, PHOTO), 415, "unsupported_media")
    assert read(api, photo).json()["state"] == "failed"


def test_the_threshold_is_the_one_that_the_back_end_chose(api, problem_of):
    session = opened(api, operating_point="strict")
    assert upload(api, session).status_code == 202
    assert read(api, session).json()["result"]["operating_point"] == "strict"
    wanted = {"kind": "photo", "operating_point": "lenient-for-me"}
    problem_of(api.post("/v1/sessions", json=wanted, headers=BACKEND), 422, "invalid_parameter")
    ignored = opened(api)
    query = api.post(ignored["upload_url"] + "?operating_point=strict", content=PHOTO, headers=bearer(ignored["token"]))
    assert query.status_code == 202
    assert read(api, ignored).json()["result"]["operating_point"] != "strict"


@pytest.mark.parametrize("wanted", [{}, {"kind": "film"}, {"kind": "photo", "ttl_s": 0}, {"kind": "photo", "x": 1}])
def test_a_session_that_makes_no_sense_is_not_opened(api, problem_of, wanted):
    problem_of(api.post("/v1/sessions", json=wanted, headers=BACKEND), 422, "invalid_parameter")


def test_the_time_is_within_its_limit(api, problem_of):
    opened(api, ttl_s=100)
    over = api.post("/v1/sessions", json={"kind": "photo", "ttl_s": 101}, headers=BACKEND)
    assert "LIVENESS_SESSION_TTL_S" in problem_of(over, 422, "invalid_parameter")["detail"]


def test_a_verdict_is_for_the_key_that_opened_the_session_and_a_token_reads_nothing(api, problem_of):
    session = opened(api)
    upload(api, session)
    problem_of(read(api, session, bearer(KEYS["other"])), 404, "session_not_found")
    problem_of(read(api, session, bearer(KEYS["prometheus"])), 403, "forbidden")
    problem_of(read(api, session, bearer(session["token"])), 401, "unauthorized")
    problem_of(read(api, {"session_id": "0" * 32}), 404, "session_not_found")
    assert read(api, session).json()["result"]["verdict"] == "live"


def test_a_key_uploads_nothing_and_a_token_is_good_for_its_own_session_only(api, problem_of):
    one, other = opened(api), opened(api)
    for headers in (BACKEND, {}, {"X-API-Key": one["token"]}, bearer(other["token"]), bearer(one["token"][:-1])):
        refused = api.post(one["upload_url"], content=PHOTO, headers=headers)
        problem_of(refused, 401, "invalid_token")
        assert refused.headers["www-authenticate"] == "Bearer"
    for session in (one, other):
        problem_of(api.post(URL, content=PHOTO, headers=bearer(session["token"])), 401, "unauthorized")
        assert read(api, session).json()["state"] == "waiting"


def test_a_file_that_was_looked_at_uses_the_token_up_and_both_sides_hear_why(api, problem_of):
    session = opened(api)
    problem = problem_of(upload(api, session, PHOTO[:1000]), 400, "unreadable_media")
    assert problem["session_state"] == "failed"
    answer = read(api, session).json()
    assert (answer["state"], answer["result"], answer["problem"]["code"]) == ("failed", None, "unreadable_media")
    assert read(api, session).json() == answer  # no verdict, so it may be read again
    problem_of(upload(api, session), 409, "session_used")


def test_an_undetermined_photo_uses_it_up_and_the_browser_is_not_told(api):
    session = opened(api)
    told = upload(api, session, encoded(no_face(), "PNG"))
    assert (told.status_code, told.json()["state"]) == (202, "scored")
    assert "no_face" not in told.text
    assert read(api, session).json()["result"]["reasons"] == ["no_face"]


def test_what_was_not_looked_at_may_be_sent_again_ten_times_in_all(api, problem_of):
    session = opened(api)
    for number in range(MOST_TRIES - 1):
        case = number % 4
        if case == 0:
            refused = upload(api, session, bytes(2_000_001))
            problem = problem_of(refused, 413, "too_many_bytes")
        elif case == 1:
            problem = problem_of(upload(api, session, b""), 400, "empty_body")
        elif case == 2:
            headers = bearer(session["token"]) | {"Content-Encoding": "gzip"}
            refused = api.post(session["upload_url"], content=PHOTO, headers=headers)
            problem = problem_of(refused, 415, "unsupported_encoding")
        else:
            refused = api.post(session["upload_url"], headers=bearer(session["token"]), files={"other": b"x"})
            problem = problem_of(refused, 422, "invalid_parameter")
        assert problem["session_state"] == read(api, session).json()["state"] == "waiting"
    assert upload(api, session).status_code == 202
    worn = opened(api)
    for _ in range(MOST_TRIES):
        problem_of(upload(api, worn, b""), 400, "empty_body")
    problem_of(upload(api, worn), 409, "session_used")


def test_a_token_keeps_the_limit_that_it_was_made_with(serve, live_bundle, tmp_path, problem_of):
    """Here of a service that took less when the session was opened; its store outlived it."""
    (tmp_path / "key").write_text("k" * 32)
    keys = SessionKeys(b"k" * 32)
    with serve(bundle_path=live_bundle, session_key_file=tmp_path / "key") as client:
        for content, status, code in ((b"x" * 11, 413, "too_many_bytes"), (b"x" * 10, 415, "unsupported_media")):
            name = new_session_id()
            token = keys.sign(Claims(name, SessionKind.PHOTO, None, 10, keys.mark_of("none")))
            client.portal.call(client.app.state.sessions._store.open, name, "none", SessionKind.PHOTO, 60.0)
            session = {"upload_url": f"/v1/sessions/{name}/upload", "token": token}
            problem_of(upload(client, session, content), status, code)
            other = keys.sign(Claims(name, SessionKind.PHOTO, None, 10**9, keys.mark_of("somebody else")))
            client.portal.call(client.app.state.sessions._store.open, name, "none", SessionKind.PHOTO, 60.0)
            problem_of(upload(client, session | {"token": other}), 410, "session_expired")


def test_the_audit_log_has_the_line_of_a_plain_upload_and_the_session(api):
    session = opened(api)
    upload(api, session, DARKER)
    line = json.loads(api.audit.read_text().splitlines()[-1])
    assert (line["key"], line["endpoint"], line["session_id"]) == ("backend", URL, session["session_id"])
    assert line["request_id"] == read(api, session).json()["result"]["request_id"]
    api.post(URL, content=PHOTO, headers=BACKEND)
    assert "session_id" not in json.loads(api.audit.read_text().splitlines()[-1])


def test_a_customers_page_may_upload_and_may_not_open_or_read(api):
    session = opened(api)
    preflight = {
        "Origin": APP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    asked = api.options(session["upload_url"], headers=preflight)
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, APP)
    assert "Authorization" in asked.headers["access-control-allow-headers"]
    assert "POST" in asked.headers["access-control-allow-methods"]
    told = api.post(session["upload_url"], content=PHOTO, headers=bearer(session["token"]) | {"Origin": APP})
    assert (told.status_code, told.headers["access-control-allow-origin"]) == (202, APP)
    for path in ("/v1/sessions", f"/v1/sessions/{session['session_id']}"):
        assert "access-control-allow-origin" not in api.options(path, headers=preflight).headers
        assert "access-control-allow-origin" not in api.get(path, headers=BACKEND | {"Origin": APP}).headers


def test_sessions_and_uploads_are_counted(api):
    before = counted(api)
    session = opened(api)
    upload(api, session)
    read(api, session)
    upload(api, opened(api), b"hello")
    after = counted(api)
    assert {event: after[event] - before.get(event, 0) for event in after} == {
        "opened": 2, "scored": 1, "failed": 1, "read": 1
    }  # fmt: skip


def counted(client):
    lines = client.get("/metrics", headers=bearer(KEYS["prometheus"])).text.splitlines()
    found = [line for line in lines if line.startswith("liveness_sessions_total{") and 'kind="photo"' in line]
    return {line.split('event="')[1].split('"')[0]: float(line.split()[-1]) for line in found}


@pytest.mark.anyio
async def test_no_body_is_read_without_a_place_and_a_full_house_costs_no_try(running, problem_of, live_bundle):
    async with running(bundle_path=live_bundle, max_uploads=1, max_uploads_per_key=2) as client:
        busy = (await client.post("/v1/sessions", json={"kind": "photo"})).json()
        session = (await client.post("/v1/sessions", json={"kind": "photo"})).json()
        body = Chunks(0.01)
        arriving = asyncio.create_task(client.post(busy["upload_url"], content=body, headers=bearer(busy["token"])))
        metrics = ""
        while "liveness_uploads 1.0" not in metrics:
            await asyncio.sleep(0.01)
            metrics = (await client.get("/metrics")).text
        state = (await client.get(f"/v1/sessions/{busy['session_id']}")).json()["state"]
        assert state == "scoring"
        again = await client.post(busy["upload_url"], content=PHOTO, headers=bearer(busy["token"]))
        problem_of(again, 409, "session_in_use")
        unread = Chunks()
        for headers, status, code in (({}, 401, "invalid_token"), (bearer(session["token"]), 503, "overloaded")):
            for _ in range(MOST_TRIES + 1):
                refused = await client.post(session["upload_url"], content=unread, headers=headers)
                problem_of(refused, status, code)
        assert unread.taken == 0
        arriving.cancel()
        await asyncio.gather(arriving, return_exceptions=True)
        done = await client.post(session["upload_url"], content=PHOTO, headers=bearer(session["token"]))
        assert done.status_code == 202


def test_one_caller_has_so_many_sessions_and_no_more(serve, live_bundle, problem_of):
    with serve(bundle_path=live_bundle, api_keys=ENTRIES, max_sessions=2) as client:
        sessions = [opened(client), opened(client)]
        over = client.post("/v1/sessions", json={"kind": "photo"}, headers=BACKEND)
        assert over.headers["retry-after"] == "5"
        assert "LIVENESS_MAX_SESSIONS" in problem_of(over, 429, "too_many_sessions")["detail"]
        assert opened(client, bearer(KEYS["other"]))["token"] != sessions[0]["token"]


def test_a_token_is_worth_nothing_to_a_service_with_another_key(serve, live_bundle, problem_of, tmp_path, capsys):
    logging.getLogger("httpx").setLevel(logging.WARNING)
    configure_logging(Settings(log_format="json"))
    with serve(bundle_path=live_bundle) as one, serve(bundle_path=live_bundle) as other:
        sessions = [opened(one, {}), opened(one, {})]
        problem_of(upload(other, sessions[0]), 401, "invalid_token")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "session_key_is_random" in line]
    assert len(warnings) == 1
    assert "LIVENESS_SESSION_KEY_FILE" in warnings[0]
    (tmp_path / "key").write_text("k" * 32)
    with serve(bundle_path=live_bundle, session_key_file=tmp_path / "key") as client:
        session = opened(client, {})
        assert sessions[0]["token"] not in capsys.readouterr().err
    with serve(bundle_path=live_bundle, session_key_file=tmp_path / "key") as restarted:
        problem_of(upload(restarted, session), 410, "session_expired")  # memory is gone, so the token is too
    assert "session_key_is_random" not in capsys.readouterr().err


def test_what_cannot_be_safe_does_not_start(live_bundle, tmp_path):
    (tmp_path / "short").write_text("k" * 31)
    for settings, message in (
        ({"session_key_file": tmp_path / "short"}, "LIVENESS_SESSION_KEY_FILE: the key in .* has 31 bytes"),
        ({"session_key_file": tmp_path / "nowhere"}, "LIVENESS_SESSION_KEY_FILE: .*cannot be read"),
        ({"session_store": "redis://localhost:1"}, "LIVENESS_SESSION_KEY_FILE: replicas that share sessions"),
    ):
        with pytest.raises(AccessError, match=message):
            create_app(Settings(bundle_path=live_bundle, **settings))


def test_the_same_file_is_seen_again_within_the_window_and_by_each_caller_for_itself(serve, live_bundle, problem_of):
    with serve(bundle_path=live_bundle, api_keys=ENTRIES, seen_window_s=60) as client:
        problem_of(client.post(URL, content=PHOTO[:1000], headers=BACKEND), 400, "unreadable_media")
        problem_of(client.post(URL, content=PHOTO[:1000], headers=BACKEND), 400, "unreadable_media")
        first = client.post(URL, content=PHOTO, headers=BACKEND).json()
        again = client.post(URL, **as_form(PHOTO), headers=BACKEND).json()
        elsewhere = client.post(URL, content=PHOTO, headers=bearer(KEYS["other"])).json()
        changed = client.post(URL, content=PHOTO + b"\0", headers=BACKEND).json()
        session = opened(client)
        assert upload(client, session).status_code == 202
        of_session = read(client, session).json()["result"]
    assert [each["verdict"] for each in (first, elsewhere, changed)] == ["live"] * 3
    for each in (again, of_session):
        assert (each["verdict"], each["reasons"], each["score"]) == ("undetermined", ["seen_before"], None)
        assert each["faces"] == []


def test_a_clip_is_seen_again_too_and_by_default_nothing_is(serve, tmp_path):
    make_tiny_bundle(tmp_path / "tiny", bias=5, temporal=True)
    clip = person_clip()
    with serve(bundle_path=tmp_path / "tiny", seen_window_s=60) as client:
        answers = [client.post(f"{URL}/video", content=clip).json() for _ in range(2)]
    assert [answer["verdict"] for answer in answers] == ["live", "undetermined"]
    assert (answers[1]["reasons"], answers[1]["frames"]) == (["seen_before"], [])
    with serve(bundle_path=tmp_path / "tiny") as client:
        assert [client.post(URL, content=PHOTO).json()["verdict"] for _ in range(2)] == ["live", "live"]
