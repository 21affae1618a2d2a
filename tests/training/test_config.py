import pytest
from pydantic import ValidationError

from liveness_training.config import TrainConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("batch_size", 1),
        ("learning_rate", 0),
        ("ema_decay", 1),
        ("dropout", 1),
        ("service_view_share", 1.1),
        ("seed", -1),
        ("precision", "fp64"),
        ("padding", "same"),
        ("stepz", 10),
    ],
)
def test_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValidationError, match=field):
        TrainConfig(**{field: value})


def test_settings_survive_their_file():
    config = TrainConfig(hold_out="nuaa", steps=3, learning_rate=1e-5)
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config
