import pytest
from pydantic import ValidationError

from liveness_service.api.schemas import LivenessQuery
from liveness_service.submission import FacePolicy, ScoreOptions


def test_without_parameters_the_defaults_are_asked_for():
    assert LivenessQuery().options() == ScoreOptions(None, FacePolicy.SINGLE, explain=False)


def test_parameters_arrive_as_they_are_meant():
    query = LivenessQuery.model_validate({"operating_point": "apcer5", "faces": "all", "explain": "true"})
    assert query.options() == ScoreOptions("apcer5", FacePolicy.ALL, explain=True)


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "False"])
def test_the_word_false_is_false(text):
    assert LivenessQuery.model_validate({"explain": text}).options().explain is False


@pytest.mark.parametrize(
    "wrong", [{"faces": "none"}, {"explain": "maybe"}, {"expalin": "true"}, {"operating_point": "x" * 101}]
)
def test_a_wrong_parameter_is_refused(wrong):
    with pytest.raises(ValidationError):
        LivenessQuery.model_validate(wrong)
