import json
import shutil
import time
from collections import Counter

import pytest

from liveness_service.registry.roles import falls_into
from support.clips import person_clip
from support.pictures import encoded, head_and_shoulders
from support.signing import SigningKey
from support.tiny_bundle import make_tiny_bundle

URL = "/v1/operations/models"
PHOTO = encoded(head_and_shoulders(), "PNG")


def again(value):
    """What asks once more what a quicker case asks."""
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """`live` and `live2` call everything live, `spoof` nothing; `broken` cannot be used, `clips` scores clips too."""
    path = tmp_path_factory.mktemp("store")
    make_tiny_bundle(path / "live", bias=5, version="live-1")
    make_tiny_bundle(path / "live2", bias=5, version="live-2")
    make_tiny_bundle(path / "spoof", bias=-5, version="spoof-1")
    make_tiny_bundle(path / "clips", bias=-5, version="clips-1", temporal=True)
    make_tiny_bundle(path / "broken", bias=-5, version="broken-1")
    content = bytearray((path / "broken" / "encoder.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "broken" / "encoder.onnx").write_bytes(content)
    return path


@pytest.fixture
def client(serve, store):
    with serve(models_url=str(store), active_model="live") as started:
        yield started


def versions(client, requests=1):
    """How many of these requests each version answered."""
    answers = [client.post("/v1/liveness", content=PHOTO) for _ in range(requests)]
    assert {answer.status_code for answer in answers} == {200}
    return Counter(answer.json()["model"]["version"] for answer in answers)


def metric(client, sample, /, **labels):
    return client.app.state.service.metrics.registry.get_sample_value(sample, labels) or 0


def eventually(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_store_and_the_roles_are_listed(client):
    found = client.get(URL).json()
    assert found["active"]["model"] == "live"
    assert found["active"]["version"] == "live-1"
    assert (found["previous"], found["canary"], found["shadow"]) == (None, None, None)
    assert [each["model"] for each in found["available"]] == ["broken", "clips", "live", "live2", "spoof"]


def test_activate_and_roll_back(client):
    assert versions(client) == {"live-1": 1}
    changed = client.put(f"{URL}/active", json={"model": "spoof"}).json()
    assert (changed["active"]["version"], changed["previous"]["version"]) == ("spoof-1", "live-1")
    assert versions(client) == {"spoof-1": 1}
    assert client.get("/health/ready").json()["version"] == "spoof-1"
    back = client.post(f"{URL}/rollback").json()
    assert (back["active"]["version"], back["previous"]["version"]) == ("live-1", "spoof-1")
    assert versions(client) == {"live-1": 1}
    assert metric(client, "liveness_model_switches_total", action="activate", outcome="done") == 1
    info = {"name": "tiny", "precision": "fp32", "provider": "cpu"}
    assert metric(client, "liveness_model_info", version="live-1", role="active", **info) == 1
    assert metric(client, "liveness_model_info", version="spoof-1", role="previous", **info) == 1
    assert metric(client, "liveness_model_info", version="spoof-1", role="active", **info) == 0


def test_activating_what_is_active_keeps_the_way_back(client):
    client.put(f"{URL}/active", json={"model": "spoof"})
    again = client.put(f"{URL}/active", json={"model": "spoof"}).json()
    assert (again["active"]["version"], again["previous"]["version"]) == ("spoof-1", "live-1")
    client.post(f"{URL}/rollback")
    assert versions(client) == {"live-1": 1}


@pytest.mark.parametrize("model", ["broken", "../live", again("nothing"), again("live@00000000")])
def test_an_unsound_bundle_changes_nothing(client, problem_of, model):
    problem = problem_of(client.put(f"{URL}/active", json={"model": model}), 409, "model_refused")
    assert problem["file"]
    assert versions(client) == {"live-1": 1}
    assert client.get(URL).json()["previous"] is None
    assert metric(client, "liveness_model_switches_total", action="activate", outcome="failed") == 1


def test_there_is_nothing_to_roll_back_to_at_first(client, problem_of):
    problem_of(client.post(f"{URL}/rollback"), 409, "no_previous_model")


def test_a_bundle_that_answers_less_is_refused_without_force(serve, store, problem_of, tmp_path):
    make_tiny_bundle(tmp_path / "fewer", operating_points={"eer": _point(0.5)}, default_operating_point="eer")
    (tmp_path / "clips").symlink_to(store / "clips")
    (tmp_path / "live").symlink_to(store / "live")
    with serve(models_url=str(tmp_path), active_model="clips") as client:
        problem = problem_of(client.put(f"{URL}/active", json={"model": "live"}), 409, "model_refused")
        assert "clips" in problem["detail"]
        problem = problem_of(client.put(f"{URL}/active", json={"model": "fewer"}), 409, "model_refused")
        assert "strict" in problem["detail"]
        assert client.put(f"{URL}/active?force=true", json={"model": "fewer"}).status_code == 200
        assert client.get("/health/ready").status_code == 200


def _point(threshold):
    return {"threshold": threshold, "chosen_on": "nothing, a test", "apcer": 0.1, "bpcer": 0.1}


def test_the_canary_decides_for_its_share(client):
    client.put(f"{URL}/canary", json={"model": "spoof", "share": 0.5})
    answers = [client.post("/v1/liveness", content=PHOTO).json() for _ in range(30)]
    found = Counter((answer["model"]["version"], answer["verdict"]) for answer in answers)
    assert set(found) == {("live-1", "live"), ("spoof-1", "spoof")}
    assert 4 <= found["spoof-1", "spoof"] <= 26  # four standard deviations about 15
    labels = {"name": "tiny", "version": "spoof-1", "role": "canary", "endpoint": "/v1/liveness", "verdict": "spoof"}
    assert metric(client, "liveness_model_verdicts_total", **labels) == found["spoof-1", "spoof"]
    # Made the rule, it is a canary no longer, and its predecessor can be gone back to.
    changed = client.put(f"{URL}/active", json={"model": "spoof"}).json()
    assert (changed["active"]["version"], changed["canary"]) == ("spoof-1", None)
    assert versions(client, 5) == {"spoof-1": 5}


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(True, id="an id of the old share"),
        pytest.param(False, id="an id outside of it", marks=pytest.mark.slow),
    ],
)
def test_no_id_of_a_client_chooses_the_canary(client, chosen):
    client.put(f"{URL}/canary", json={"model": "spoof", "share": 0.5})
    ident = next(f"mine-{n}" for n in range(100) if falls_into(0.5, f"mine-{n}", "canary") is chosen)
    found = set()
    for _ in range(30):
        answer = client.post("/v1/liveness", content=PHOTO, headers={"X-Request-ID": ident})
        assert answer.headers["x-request-id"] == ident
        found.add(answer.json()["model"]["version"])
        if len(found) == 2:
            return
    pytest.fail(f"30 requests of one id were all answered by {found}")


def test_no_id_of_a_client_chooses_the_shadow(client):
    client.put(f"{URL}/shadow", json={"model": "spoof", "share": 0.001})
    ident = next(f"mine-{n}" for n in range(10_000) if falls_into(0.001, f"mine-{n}", "shadow"))
    for _ in range(4):
        assert client.post("/v1/liveness", content=PHOTO, headers={"X-Request-ID": ident}).status_code == 200
        time.sleep(0.1)
    agreement = {"name": "tiny", "version": "spoof-1", "verdict": "live", "shadow_verdict": "spoof"}
    assert metric(client, "liveness_shadow_agreement_total", **agreement) <= 1


def test_an_ended_canary_decides_nothing(client):
    client.put(f"{URL}/canary", json={"model": "spoof", "share": 1})
    assert versions(client, 3) == {"spoof-1": 3}
    assert client.delete(f"{URL}/canary").json()["canary"] is None
    assert versions(client, 3) == {"live-1": 3}


def test_a_shadow_only_reports(client):
    client.put(f"{URL}/shadow", json={"model": "spoof", "share": 1})
    for _ in range(3):
        assert versions(client) == {"live-1": 1}
        time.sleep(0.2)
    agreement = {"name": "tiny", "version": "spoof-1", "verdict": "live", "shadow_verdict": "spoof"}
    eventually(lambda: metric(client, "liveness_shadow_agreement_total", **agreement) == 3)
    labels = {"name": "tiny", "version": "spoof-1", "role": "shadow", "endpoint": "/v1/liveness"}
    assert metric(client, "liveness_model_verdicts_total", verdict="spoof", **labels) == 3
    assert metric(client, "liveness_model_score_count", **labels) == 3
    # What decides is counted by itself.
    assert metric(client, "liveness_verdicts_total", endpoint="/v1/liveness", verdict="live") == 3
    assert metric(client, "liveness_verdicts_total", endpoint="/v1/liveness", verdict="spoof") == 0
    assert client.delete(f"{URL}/shadow").json()["shadow"] is None


def test_a_shadow_that_fails_or_cannot_keep_up_hurts_no_answer(client, fragile_bundle, store):
    (store / "fragile").exists() or (store / "fragile").symlink_to(fragile_bundle)
    try:
        client.put(f"{URL}/shadow", json={"model": "fragile", "share": 1})
        assert versions(client, 10) == {"live-1": 10}
        eventually(
            lambda: (
                sum(metric(client, "liveness_shadow_skipped_total", reason=reason) for reason in ("failed", "busy"))
                == 10
            )
        )
        assert metric(client, "liveness_shadow_skipped_total", reason="failed") >= 1
    finally:
        (store / "fragile").unlink()


def test_a_shadow_without_a_temporal_head_skips_clips(serve, store):
    with serve(models_url=str(store), active_model="clips", shadow_model="live", shadow_share=1) as client:
        assert client.post("/v1/liveness/video", content=person_clip()).status_code == 200
        eventually(lambda: metric(client, "liveness_shadow_skipped_total", reason="clips_unsupported") == 1)


def test_roles_survive_a_restart_until_the_settings_say_something_else(serve, store, tmp_path):
    settings = {"models_url": str(store), "active_model": "live", "models_state": tmp_path / "roles.json"}
    with serve(**settings) as client:
        client.put(f"{URL}/active", json={"model": "spoof"})
        client.put(f"{URL}/shadow", json={"model": "live", "share": 0.25})
    with serve(**settings) as client:
        found = client.get(URL).json()
        assert found["active"]["model"] == "spoof"
        assert (found["shadow"]["model"], found["shadow"]["share"]) == ("live", 0.25)
    with serve(**settings | {"active_model": "live2"}) as client:
        found = client.get(URL).json()
        assert (found["active"]["model"], found["shadow"]) == ("live2", None)


def test_a_change_that_cannot_be_kept_is_not_made(serve, store, tmp_path, problem_of):
    state = tmp_path / "there" / "roles.json"
    with serve(models_url=str(store), active_model="live", models_state=state) as client:
        problem = problem_of(client.put(f"{URL}/active", json={"model": "spoof"}), 409, "model_refused")
        assert "LIVENESS_MODELS_STATE" in problem["detail"]
        assert versions(client) == {"live-1": 1}


@pytest.mark.parametrize("content", ["{", json.dumps({"roles": 1})])
def test_a_damaged_state_is_no_reason_to_guess(serve, store, tmp_path, problem_of, content):
    state = tmp_path / "roles.json"
    state.write_text(content)
    with serve(models_url=str(store), active_model="live", models_state=state) as client:
        problem = problem_of(client.get("/health/ready"), 503, "model_unavailable")
        assert problem["file"] == str(state)


def test_without_its_active_bundle_it_is_not_ready_without_the_others_it_is(serve, store, problem_of):
    with serve(models_url=str(store), active_model="broken") as client:
        assert problem_of(client.get("/health/ready"), 503, "model_unavailable")["file"] == "encoder.onnx"
    with serve(models_url=str(store), active_model="live", canary_model="broken", shadow_model="nothing") as client:
        assert client.get("/health/ready").status_code == 200
        found = client.get(URL).json()
        assert (found["canary"], found["shadow"]) == (None, None)
    # A canary that is sound and answers less than the active bundle is refused at the start too, and stopped again.
    with serve(models_url=str(store), active_model="clips", canary_model="live") as client:
        assert client.get(URL).json()["canary"] is None


def test_without_a_store_there_is_nothing_to_activate(serve, live_bundle, problem_of):
    with serve(bundle_path=live_bundle) as client:
        problem = problem_of(client.put(f"{URL}/active", json={"model": "spoof"}), 409, "model_refused")
        assert "LIVENESS_MODELS_URL" in problem["detail"]
        assert client.get(URL).json()["available"] == []


@pytest.mark.parametrize(
    "body", [{"model": "live", "share": 1.5}, {"model": "live"}, again({"share": 0.5}), again([]), again("x")]
)
def test_a_wrong_request_is_an_error(client, problem_of, body):
    problem_of(client.put(f"{URL}/canary", json=body), 422, "invalid_parameter")


@pytest.fixture(scope="module")
def signed_store(tmp_path_factory):
    """`signed` and `renewed` are signed by the trusted key, `foreign` by another one, `unsigned` by nobody."""
    path = tmp_path_factory.mktemp("signed")
    trusted, other = (SigningKey.make(tmp_path_factory.mktemp("signer")) for _ in range(2))
    for name, key in (("signed", trusted), ("renewed", trusted), ("foreign", other), ("unsigned", None)):
        make_tiny_bundle(path / name, bias=5, version=name)
        if key is not None:
            key.sign(path / name)
    return {"models_url": str(path), "bundle_public_keys": trusted.public}


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("active", "unsigned"),
        ("canary", "foreign"),
        ("shadow", "unsigned"),
        pytest.param("active", "foreign", marks=pytest.mark.slow),
        pytest.param("canary", "unsigned", marks=pytest.mark.slow),
        pytest.param("shadow", "foreign", marks=pytest.mark.slow),
    ],
)
def test_no_role_is_given_to_a_bundle_without_a_trusted_signature(serve, signed_store, problem_of, role, name):
    with serve(active_model="signed", **signed_store) as client:
        content = {"model": name} | ({} if role == "active" else {"share": 1})
        problem = problem_of(client.put(f"{URL}/{role}", json=content), 409, "model_refused")
        assert problem["file"] == "model.sig"
        assert "LIVENESS_BUNDLE_PUBLIC_KEYS" in problem["reason"]
        assert versions(client) == {"signed": 1}
        assert client.put(f"{URL}/{role}", json=content | {"model": "renewed"}).status_code == 200


@pytest.mark.parametrize("name", ["unsigned", again("foreign")])
def test_at_the_start_only_a_signed_bundle_makes_the_service_ready(serve, signed_store, name):
    with serve(active_model=name, **signed_store) as client:
        problem = client.get("/health/ready").json()
        assert (problem["status"], problem["file"]) == (503, "model.sig")
    with serve(active_model="signed", canary_model=name, shadow_model=name, **signed_store) as client:
        assert client.get("/health/ready").status_code == 200
        roles = client.get(URL).json()
        assert (roles["canary"], roles["shadow"]) == (None, None)


def test_a_key_that_was_withdrawn_counts_for_the_next_bundle(serve, signed_store, tmp_path):
    keys = tmp_path / "keys.pem"
    shutil.copy(signed_store["bundle_public_keys"], keys)
    with serve(active_model="signed", **signed_store | {"bundle_public_keys": keys}) as client:
        shutil.copy(SigningKey.make(tmp_path).public, keys)
        assert client.put(f"{URL}/active", json={"model": "renewed"}).status_code == 409
        assert versions(client) == {"signed": 1}


def test_without_keys_an_unsigned_bundle_is_as_good_as_before(serve, signed_store):
    with serve(active_model="unsigned", models_url=signed_store["models_url"]) as client:
        assert client.put(f"{URL}/active", json={"model": "foreign"}).status_code == 200
