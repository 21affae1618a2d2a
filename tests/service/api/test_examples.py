import pytest

from liveness_service import errors
from liveness_service.api.problems import Problem
from liveness_service.api.schemas import LivenessResponse


@pytest.fixture(scope="module")
def operations(client):
    return client.get("/openapi.json").json()["paths"]


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


def test_both_forms_of_body_are_documented(operations):
    body = operations["/v1/liveness"]["post"]["requestBody"]
    assert body["required"]
    assert set(body["content"]) == {"multipart/form-data", "image/*"}
    form = body["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["image"]
    assert form["properties"]["image"]["format"] == "binary"


def test_every_parameter_is_documented(operations):
    parameters = {each["name"]: each for each in operations["/v1/liveness"]["post"]["parameters"]}
    assert set(parameters) == {"operating_point", "faces", "explain"}
    assert all(len(each["description"]) > 20 for each in parameters.values())
    assert not any(each["required"] for each in parameters.values())


def test_the_reasons_are_documented(operations):
    description = operations["/v1/liveness"]["post"]["description"]
    for reason in (
        "no_face",
        "multiple_faces",
        "too_many_faces",
        "face_too_small",
        "face_cut_off",
        "too_blurry",
        "too_dark",
        "too_bright",
        "extreme_pose",
    ):
        assert f"`{reason}`" in description
