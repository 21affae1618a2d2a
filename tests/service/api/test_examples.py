import pytest

from liveness_core.reasons import Reason
from liveness_service import errors
from liveness_service.api.problems import Problem
from liveness_service.api.schemas import LivenessResponse
from liveness_service.submission import Endpoint
from support.examples import answers
from support.requests import make_keys


@pytest.fixture(scope="module")
def operations(client):
    return client.get("/openapi.json").json()["paths"]


@pytest.fixture(scope="module")
def schemas(client):
    return client.get("/openapi.json").json()["components"]["schemas"]


@pytest.fixture(scope="module")
def responses(operations):
    return operations["/v1/liveness"]["post"]["responses"]


def test_every_example_of_an_answer_is_one(responses):
    examples = responses["200"]["content"]["application/json"]["examples"]
    answers = {name: LivenessResponse.model_validate(each["value"]) for name, each in examples.items()}
    assert {answer.verdict.value for answer in answers.values()} == {"live", "spoof", "undetermined"}
    for name, answer in answers.items():
        # Nothing in it is dropped or converted, and nothing is missing.
        assert answer.model_dump(mode="json") == examples[name]["value"]
        if answer.verdict == "undetermined":
            assert answer.reasons
            assert answer.score is None
        else:
            assert (answer.verdict == "live") == (answer.score >= answer.threshold)


@pytest.mark.parametrize(
    "endpoint", [Endpoint.PHOTO, pytest.param(Endpoint.CLIP, marks=pytest.mark.slow)], ids=["photo", "clip"]
)
def test_the_examples_are_what_the_default_bundle_answers(operations, endpoint):
    shown = operations[endpoint]["post"]["responses"]["200"]["content"]["application/json"]["examples"]
    told = answers(endpoint)
    assert list(shown) == list(told)
    for name in shown:
        alike(without_times(shown[name]["value"]), without_times(told[name]["value"]), name, endpoint)


def without_times(answer):
    assert set(answer["timings_ms"]) == {"decode", "detect", "align", "queue", "infer", "total"}
    return {name: value for name, value in answer.items() if name != "timings_ms"}


def alike(shown, told, where, endpoint):
    """Equal, but for what another processor makes differently: of a photo the last digits of numbers.

    Of a clip also its frames, since they are encoded first.
    """
    hint = f"{where}: run `python -m support.examples`, see there"
    if isinstance(told, dict):
        assert shown.keys() == told.keys(), hint
        for name in told:
            alike(shown[name], told[name], f"{where}.{name}", endpoint)
    elif isinstance(told, list):
        assert len(shown) == len(told), hint
        for number, (one, other) in enumerate(zip(shown, told, strict=True)):
            alike(one, other, f"{where}[{number}]", endpoint)
    elif isinstance(told, float) and endpoint == Endpoint.CLIP:
        # Between two processors scores of frames differed by 0.12, boxes by 3 pixels, angles by 3 degrees.
        is_share = max(abs(shown), abs(told)) <= 1 and not where.endswith("_deg")
        assert shown == pytest.approx(told, rel=0.01, abs=0.2 if is_share else 5), hint
    elif isinstance(told, float):
        assert shown == pytest.approx(told, rel=0.01, abs=0.02), hint
    else:
        assert shown == told, hint


def test_every_example_of_a_problem_is_one_that_the_service_has(operations):
    known = {
        kind.code: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ServiceError) and kind is not errors.ServiceError
    }
    seen = set()
    for path in operations.values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                example = response.get("content", {}).get("application/problem+json", {}).get("example")
                if example is None:
                    continue
                assert set(response["content"]) == {"application/problem+json"}
                assert response["content"]["application/problem+json"]["schema"]
                problem = Problem.model_validate(example)
                assert problem.status == int(status) == known[problem.code].status
                assert problem.title == known[problem.code].title
                assert problem.type.endswith(f":{problem.code}")
                seen.add(problem.status)
    assert seen == {kind.status for kind in known.values()}


def test_every_status_of_the_service_is_documented(responses):
    assert {"200", "400", "408", "413", "415", "422", "503", "504"} <= set(responses)


def test_all_forms_of_body_are_documented(operations, schemas):
    body = operations["/v1/liveness"]["post"]["requestBody"]
    assert body["required"]
    assert set(body["content"]) == {"multipart/form-data", "application/octet-stream", "application/json"}
    kinds = {
        name: schemas[each["schema"]["$ref"].split("/")[-1]]
        for name, each in body["content"].items()
        if "$ref" in each["schema"]
    }
    assert [kinds[name]["required"] for name in ("multipart/form-data", "application/json")] == [["image"]] * 2
    assert kinds["multipart/form-data"]["properties"]["image"]["format"] == "binary"
    assert "base64" in kinds["application/json"]["properties"]["image"]["description"]


def test_every_parameter_is_documented(operations):
    parameters = {each["name"]: each for each in operations["/v1/liveness"]["post"]["parameters"]}
    assert set(parameters) == {"operating_point", "faces", "explain"}
    assert all(len(each["description"]) > 20 for each in parameters.values())
    assert not any(each["required"] for each in parameters.values())


def test_the_reasons_are_documented(operations):
    for path in ("/v1/liveness", "/v1/liveness/video"):
        description = operations[path]["post"]["description"]
        assert all(f"`{reason}`" in description for reason in Reason)


def test_every_value_of_an_enum_has_a_text(schemas):
    enums = {name: each for name, each in schemas.items() if "enum" in each}
    assert {"Reason", "Verdict", "FacePolicy", "ErrorCode", "SessionKind", "SessionState"} == set(enums)
    for each in enums.values():
        assert len(each["x-enum-descriptions"]) == len(each["enum"])
        for value, text in zip(each["enum"], each["x-enum-descriptions"], strict=True):
            assert text.endswith(".")
            assert f"- `{value}`: {text}" in each["description"]
    assert schemas["Verdict"]["enum"] == ["live", "spoof", "undetermined"]
    assert enums["Reason"]["enum"] == list(Reason)


def test_every_code_that_the_service_answers_with_is_described(schemas, client):
    codes = schemas["ErrorCode"]["enum"]
    assert schemas["Problem"]["properties"]["code"]["$ref"].endswith("/ErrorCode")
    assert {kind.code for kind in errors.ServiceError.__subclasses__()} < set(codes)
    for method, path in (("GET", "/nowhere"), ("PUT", "/v1/liveness"), ("PUT", "/v1/operations/models/active")):
        assert client.request(method, path, content=b"{").json()["code"] in codes


def test_operations_have_names_that_clients_can_use(operations):
    names = [operation["operationId"] for path in operations.values() for operation in path.values()]
    assert len(set(names)) == len(names)
    assert {"score_image", "score_clip", "list_reasons", "list_models", "activate_model", "check_ready"} <= set(names)
    assert {"open_session", "upload_to_session", "read_session"} <= set(names)
    assert not [name for name in names if "v1" in name]


def test_every_answer_names_its_headers(client, operations):
    known = client.get("/openapi.json").json()["components"]["headers"]
    for path in operations.values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                named = {each["$ref"].split("/")[-1] for each in response["headers"].values()}
                assert {"X-Request-ID", "traceparent"} <= named <= set(known)
                assert ("Retry-After" in named) == (status in ("429", "503"))
                assert ("WWW-Authenticate" in named) == (status == "401")


def test_nothing_is_left_of_the_frameworks_own_errors(client):
    document = client.get("/openapi.json").text
    assert "HTTPValidationError" not in document
    assert "ValidationError" not in document


def test_reasons_can_be_loaded_as_a_table(client, serve, live_bundle):
    table = client.get("/v1/reasons").json()["reasons"]
    assert [row["reason"] for row in table] == list(Reason)
    for row in table:
        for sentence in (row["text"], row["advice"]):
            assert sentence == sentence.strip()
            assert sentence.endswith(".")
            assert sentence.count(".") == 1
            assert len(sentence) > 10
    _, entries = make_keys(backend="score")
    with serve(bundle_path=live_bundle, api_keys=entries) as closed:
        assert closed.get("/v1/reasons").status_code == 401
