import base64

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from support.clips import person_clip
from support.pictures import astronaut, encoded
from support.requests import bearer, make_keys
from support.server import running_server
from support.tiny_bundle import make_tiny_bundle

load_all_checks()

OPERATIONS = [
    ("/v1/liveness", "POST"),
    ("/v1/liveness/video", "POST"),
    ("/v1/sessions", "POST"),
    ("/v1/sessions/{session_id}", "GET"),
    ("/v1/sessions/{session_id}/upload", "POST"),
    ("/v1/reasons", "GET"),
    ("/v1/models", "GET"),
    ("/v1/operations/models", "GET"),
    ("/v1/operations/models/active", "PUT"),
    ("/v1/operations/models/rollback", "POST"),
    ("/v1/operations/models/canary", "PUT"),
    ("/v1/operations/models/canary", "DELETE"),
    ("/v1/operations/models/shadow", "PUT"),
    ("/v1/operations/models/shadow", "DELETE"),
    ("/health/live", "GET"),
    ("/health/ready", "GET"),
    ("/metrics", "GET"),
]
ALWAYS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
]
OF_KEYS = ["ignored_auth"]
"""More checks for a service with keys: an operation that needs one refuses requests without it and with a wrong one."""
# Left out: `positive_data_acceptance` (what is made up for a `binary` string is no image, so it is refused, rightly);
# those about resources that are made and deleted (there are none). Those about keys are for the service that has some.


@pytest.fixture(scope="module", params=["without keys", pytest.param("with keys", marks=pytest.mark.slow)])
def api(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("contract")
    make_tiny_bundle(folder / "tiny", bias=5, temporal=True)
    keys, entries = make_keys(tester="score+operations")
    settings = {"api_keys": entries} if request.param == "with keys" else {}
    # Over a real socket: Schemathesis would start and stop an app in this process once a test.
    with running_server(folder, bundle_path=str(folder / "tiny"), workers="1", **settings) as server:
        schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        if settings:
            schema.config.update(headers=bearer(keys["tester"]) | {"X-API-Key": keys["tester"]})
        yield schema


@pytest.fixture
def of_keys(request):
    """The checks that only a service with keys can pass."""
    return OF_KEYS if request.node.callspec.params["api"] == "with keys" else []


def answers_conform(strategy, *more, examples=60):
    """Send requests drawn from `strategy` and check each answer against the description."""
    checks = CHECKS.get_by_names([*ALWAYS, *more])
    statuses = set()

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=strategy)
    def send(case):
        headers = case.operation.schema.config.headers  # the key; the checks know by them that it is meant
        statuses.add(case.call_and_validate(checks=checks, headers=headers).status_code)

    send()
    return statuses


def test_every_operation_is_tested(api):
    operations = {(result.ok().path, result.ok().method.upper()) for result in api.get_all_operations()}
    assert operations == set(OPERATIONS)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_answers_to_described_requests_are_as_described(api, of_keys, path, method):
    is_upload = path.startswith("/v1/liveness")
    statuses = answers_conform(api[path][method].as_strategy(), *of_keys, examples=30 if is_upload else 3)
    if path.startswith("/v1/sessions"):  # made up: thresholds, sessions and tokens
        assert statuses <= {"POST": {401, 201, 422}, "GET": {404}}[method]
        return
    expected = {"GET": {200}, "DELETE": {200}, "POST": {409}, "PUT": {409}}  # 409: names that are made up
    assert statuses & {400, 415, 422} if is_upload else statuses == expected[method]


@pytest.mark.parametrize("path", ["/v1/liveness", "/v1/liveness/video"])
def test_answers_to_other_requests_are_as_described_too(api, of_keys, path):
    strategy = api[path]["POST"].as_strategy(schemathesis.GenerationMode.NEGATIVE)
    assert answers_conform(strategy, "negative_data_rejection", examples=60 if of_keys else 15) & {400, 415, 422}


def test_answers_to_a_real_photo_are_as_described(api):
    photo = encoded(astronaut())
    text = base64.b64encode(photo).decode()
    for media_type, body in (
        ("application/octet-stream", photo),
        ("multipart/form-data", {"image": photo}),
        ("application/json", {"image": f"data:image/jpeg;base64,{text}"}),
    ):
        strategy = api["/v1/liveness"]["POST"].as_strategy(body=body, media_type=media_type)
        assert 200 in answers_conform(strategy, examples=10)


def test_answers_to_a_real_clip_are_as_described(api, of_keys):
    clip = person_clip()
    for media_type, body in (
        ("application/octet-stream", clip),
        ("multipart/form-data", {"video": clip}),
        ("application/json", {"video": base64.b64encode(clip).decode()}),
    ):
        strategy = api["/v1/liveness/video"]["POST"].as_strategy(body=body, media_type=media_type)
        assert 200 in answers_conform(strategy, examples=10 if of_keys else 3)


def test_answers_about_a_real_session_are_as_described(api):
    wanted = {"kind": "photo", "ttl_s": 60}
    assert 201 in answers_conform(api["/v1/sessions"]["POST"].as_strategy(body=wanted), examples=3)
    opened = api["/v1/sessions"]["POST"].Case(body=wanted, media_type="application/json")
    session = opened.call(headers=api.config.headers).json()
    route = {"path_parameters": {"session_id": session["session_id"]}}
    photo = {"body": encoded(astronaut()), "media_type": "application/octet-stream"}
    told = set()
    for operation, more in (
        (api["/v1/sessions/{session_id}"]["GET"], {}),
        (api["/v1/sessions/{session_id}/upload"]["POST"], photo | {"headers": bearer(session["token"])}),
        (api["/v1/sessions/{session_id}/upload"]["POST"], photo | {"headers": bearer(session["token"])}),
        (api["/v1/sessions/{session_id}"]["GET"], {}),
        (api["/v1/sessions/{session_id}"]["GET"], {}),
    ):
        case = operation.Case(**route, **more)
        own = None if "headers" in more else api.config.headers
        told.add(case.call_and_validate(checks=CHECKS.get_by_names(ALWAYS), headers=own).status_code)
    assert told == {200, 202, 409, 410}


def test_the_description_is_valid_openapi(api):
    assert api.raw_schema["openapi"].startswith("3.1")
    assert [error.message for error in OPENAPI_31_VALIDATOR.iter_errors(api.raw_schema)] == []
