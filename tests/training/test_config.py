import pytest
from pydantic import ValidationError

from liveness_training.config import ConfigError, TrainConfig, built_in_configs, load_config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("images_per_domain", 0),
        ("learning_rate", 0),
        ("ema_decay", 1),
        ("dropout", 1),
        ("service_view_share", 1.1),
        ("seed", -1),
        ("precision", "fp64"),
        ("padding", "same"),
        ("encoder", "resnet101"),
        ("grl_factor", 0.2),
        ("stepz", 10),
    ],
)
def test_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValidationError, match=field):
        TrainConfig(**{field: value})


def test_settings_survive_their_file():
    config = TrainConfig(hold_out=("nuaa",), steps=3, learning_rate=1e-5)
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


def test_papers_settings_are_the_papers():
    """Section 4.1."""
    paper = load_config("paper")
    assert paper.encoder == "resnet50"
    assert (paper.optimiser, paper.learning_rate, paper.schedule, paper.warmup_steps) == ("sgd", 0.0003, "constant", 0)
    assert (paper.momentum, paper.weight_decay) == (0.9, 0.00001)
    assert (paper.images_per_domain, paper.clips_per_domain, paper.clip_frames) == (16, 2, 8)
    assert paper.lstm_hidden == 256
    assert (paper.grl_factor, paper.grl_schedule) == (-0.2, "constant")
    assert (paper.lambda_ib, paper.lambda_vb, paper.reduction) == (1.0, 1.0, "sum")
    assert (paper.dis, paper.dib, paper.lstm, paper.dvb) == (False, True, True, True)
    assert paper.people == "all"
    assert built_in_configs() == [
        "default_bundle",
        "gac_fas",
        "member_context",
        "mixstyle",
        "paper",
        "paper_mean",
        "ssdg",
    ]


def test_the_other_reading_of_the_paper_differs_in_the_reduction_alone(tmp_path):
    assert load_config("paper_mean") == load_config("paper").model_copy(update={"reduction": "mean"})
    own = tmp_path / "own.yaml"
    own.write_text("based_on: paper_mean\nencoder: resnet18\n")
    assert load_config(str(own)) == load_config("paper_mean").model_copy(update={"encoder": "resnet18"})
    own.write_text("based_on: own\n")
    with pytest.raises(ConfigError, match=r"based_on is 'own', expected another one of .*paper_mean"):
        load_config(str(own))


def test_default_bundles_settings_learn_from_a_teacher_and_from_simulated_attacks():
    bundle = load_config("default_bundle")
    assert bundle.simulate
    assert bundle.distillation > 0
    assert not load_config(None).distillation  # whoever has no teacher needs none


def other_value(name, value):
    """A value in YAML that differs from the default."""
    special = {
        "hold_out": "[a, b]",
        "sources": "[a]",
        "people": "all",
        "encoder": "resnet18",
        "padding": "torchvision",
        "short_clips": "stretch",
        "grl_schedule": "dann",
        "reduction": "sum",
        "augmentation": "none",
        "optimiser": "sgd",
        "schedule": "constant",
        "device": "cpu",
        "precision": "fp32",
        "grl_factor": "-0.7",
        "distillation": "1.5",
        "distillation_of": "right",
        "distillation_share": "0.25",
        "grey_weight": "0.2",
        "feature_scale": "12.0",
        "triplet": "1.0",
        "style_mixing": "cross_domain",
        "sharpness": "gac_fas",
        "dvb": "true",
        "lstm": "true",
    }
    if name in special:
        return special[name]
    return "true" if value is False else str(value / 2 if isinstance(value, float) else value + 3)


@pytest.mark.parametrize("name", sorted(TrainConfig.model_fields))
def test_any_field_can_be_set_from_the_command_line(name):
    default = getattr(TrainConfig(), name)
    needed = ["lstm=true", "distillation=1.0"]  # what other fields need
    config = load_config(None, [*needed, f"{name}={other_value(name, default)}"])
    assert getattr(config, name) != default


def test_command_line_wins_over_the_file_and_the_file_over_the_defaults(tmp_path):
    (tmp_path / "mine.yaml").write_text("steps: 7\nseed: 5\nhold_out: nuaa\n")
    config = load_config(str(tmp_path / "mine.yaml"), ["steps=9"])
    assert (config.steps, config.seed, config.hold_out, config.encoder) == (9, 5, ("nuaa",), "mobilenet_v2")


@pytest.mark.parametrize("text", ["3e-4", "3E-4", "0.3e-3", "3.e-4", "0.0003", "+3e-4"])
def test_numbers_are_read_however_they_are_written(tmp_path, text):
    assert load_config(None, [f"learning_rate={text}"]).learning_rate == 0.0003
    (tmp_path / "mine.yaml").write_text(f"learning_rate: {text}\n")
    assert load_config(str(tmp_path / "mine.yaml")).learning_rate == 0.0003


def test_names_that_only_begin_like_numbers_stay_names():
    assert load_config(None, ["hold_out=[3e, 2e4x, '1e5']"]).hold_out == ("3e", "2e4x", "1e5")


def test_a_frozen_classifier_is_not_changed_for_grey_pictures():
    with pytest.raises(ConfigError, match="frozen: grey_weight changes the classifier"):
        load_config(None, ["frozen=true", "lstm=true", "grey_weight=0.2"])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("single_side=true", "dib=true"), "single_side: it stands in the place of dis and dib"),
        (("feature_scale=8", "patch_labels=true"), "feature_scale: patch_labels"),
        (("feature_scale=8", "distillation=1", "distillation_share=0.5"), "feature_scale: the distillation head"),
        (("sharpness=sam", "dib=true"), "sharpness: with a discriminator"),
        (("sharpness=sam", "lstm=true", "dvb=true"), "sharpness: with a discriminator"),
        (("sharpness=gac_fas", "single_side=true"), "sharpness: with a discriminator"),
        (("sharpness=gac_fas", "triplet=1"), "gac_fas adds up the energies of the domains"),
        (("sharpness=sam", "precision=fp16"), "sharpness: fp16"),
        (("style_mixing=random", "compile=true"), "style_mixing: it cannot be compiled"),
        (("style_mixing=random", "triplet=1", "accumulation=2"), "accumulation: .* triplet and style_mixing"),
        (("triplet=1", "frozen=true", "lstm=true"), "frozen: triplet and style_mixing"),
        (("single_side=true", "frozen=true", "lstm=true"), "frozen: .* single_side"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_with_the_reason(settings, told):
    with pytest.raises(ConfigError, match=told):
        load_config(None, settings)


@pytest.mark.parametrize("settings", [("sharpness=sam", "accumulation=2"), ("sharpness=gac_fas", "accumulation=2")])
def test_several_passes_go_with_a_batch_in_parts(settings):
    load_config(None, settings)


def test_whole_numbers_do_for_fractions():
    assert load_config(None, ["learning_rate=1"]).learning_rate == 1.0


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("stepz=1", "stepz"),
        ("steps=many", "steps"),
        ("steps=1.5", "steps"),
        ("steps='7'", "steps"),
        ("dib=3", "dib"),
        ("dib=maybe", "dib"),
        ("hold_out=[1]", "hold_out"),
        ("hold_out=3", "hold_out"),
        ("learning_rate=fast", "learning_rate"),
        ("learning_rate=.inf", "learning_rate"),
        ("weight_decay=.nan", "weight_decay"),
        ("grl_factor=-.inf", "grl_factor"),
        ("steps=3e2", "steps"),
        ("steps", "FIELD=VALUE"),
        ("steps=[1", "steps is not YAML"),
        ("dvb=true", "dvb"),
    ],
)
def test_wrong_value_is_refused_by_name(override, told):
    with pytest.raises(ConfigError, match=told):
        load_config(None, [override])


@pytest.mark.parametrize(
    ("content", "told"), [("- 1\n", "FIELD: VALUE"), ("steps: [", "not YAML"), ("stepz: 3\n", "stepz"), ("", "FIELD")]
)
def test_wrong_file_is_refused(tmp_path, content, told):
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(ConfigError, match=told):
        load_config(str(tmp_path / "mine.yaml"))


def test_missing_file_is_told_with_the_names_that_there_are():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml.*paper"):
        load_config("nowhere.yaml")
