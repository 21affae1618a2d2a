"""From a specification to a bundle of several networks, for real: small ONNX files, int8, the loader of the service."""

import json

import cv2
import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from liveness_core.bundle import load_bundle
from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.runtime import OrtSession
from liveness_core.views import View, cut_views
from liveness_training.cli import app
from liveness_training.data.cutting import read_picture
from liveness_training.data.samples import read_index
from liveness_training.export.committee import export_committee
from liveness_training.export.committee_spec import MemberSpec, SpecError, read_spec
from liveness_training.export.members import read_member
from liveness_training.export.merging import merge
from support.pictures import SHARED, astronaut
from support.tiny_bundle import make_tiny_bundle, temporal_bytes

LIVE, PRINT = 1.0, 0.35
VIEW = {"rule": "upright_box", "margin": 2.0, "size": 32, "resampling": "bilinear", "colour_order": "BGR"}
VIEW |= {"max_value": 255, "mean": [0, 0, 0], "std": [1, 1, 1]}
POINT = {"threshold": 0.5, "chosen_on": "nothing, a test", "apcer": 0.1, "bpcer": 0.1}


def network(path, slope=0.25):
    """logits (n, 3) of the mean colours, after a convolution and a PRelu; BGR 0 to 255, at opset 13."""
    random = np.random.default_rng(3)
    arrays = {
        "kernel": np.eye(3, dtype=np.float32)[:, :, None, None] / 100 - 0.002,
        "slope": np.full((3, 1, 1), slope, np.float32),
        "weights": random.normal(0, 1, (3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["convolved"], name="first"),
        helper.make_node("PRelu", ["convolved", "slope"], ["bent"]),
        helper.make_node("ReduceMean", ["bent"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
    ]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 32, 32])
    made = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "n", [given], [made], [numpy_helper.from_array(a, k) for k, a in arrays.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Networks, data and a specification."""
    root = tmp_path_factory.mktemp("committee")
    network(root / "public.onnx")
    (root / "LICENSE.public").write_text("as you like\n")
    (root / "card.md").write_text("It fails in the dark.\n")
    (root / "metrics.json").write_text(json.dumps({"held_out/hall": {"auc": 0.75, "presentations": 9}}))
    make_tiny_bundle(root / "own", bias=0.5, gain=3.0)
    (root / "temporal.onnx").write_bytes(temporal_bytes(0.2, 2.0, depth=2 + 3 + 4))
    rows = ["path,domain,label,attack,subject,sequence,split"]
    for split in ("train", "test"):
        for person in range(4):
            for label, light in (("live", LIVE), ("spoof", PRINT)):
                name = f"{split}{person}{label}.png"
                picture = np.roll(astronaut(), 7 * person, axis=1) * (light - 0.02 * person)
                cv2.imwrite(str(root / name), picture.astype(np.uint8)[..., ::-1])
                attack = "live" if label == "live" else "print"
                rows.append(f"{name},hall,{label},{attack},{split}{person},,{split}")
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    return root


def spec_of(place, **changes):
    content = {
        "version": "6",
        "members": [
            {
                "name": "public",
                "network": "$MEMBERS/public.onnx",
                "view": VIEW,
                "log_odds": {"softmax": True, "weights": [0, 1, 0]},
                "features": "mean",
                "calibration": {"slope": 0.5, "offset": -0.25},
                "limit": 3.0,
                "weight": 2.0,
                "float_convolutions": 0,
                "source": "a published network",
                "licence": "$MEMBERS/LICENSE.public",
            },
            {"name": "own", "bundle": "own", "heatmap": True, "grey": {"offset": 1.0}, "source": "trained here"},
        ],
        "offset": 0.1,
        "temperature": 1.5,
        "operating_points": {"balanced": POINT},
        "default_operating_point": "balanced",
        "temporal": {"network": "temporal.onnx", "operating_points": {"balanced": POINT}},
        "precisions": ["int8", "fp16", "fp32"],
        "measure": {"data": ".", "calibrate": 8, "pictures": 8, "most_drift": 0.5},
        "metrics": "metrics.json",
        "card": "card.md",
        "data": ["hall: a test"],
    } | changes
    path = place / "spec.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def made(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMBERS", str(place))
        done = CliRunner().invoke(app, ["committee", str(spec_of(place)), str(place / "bundle")])
        assert done.exit_code == 0, done.output
    return place / "bundle"


@pytest.fixture(scope="module")
def crops(place, made):
    bundle, detector = load_bundle(made, precision="fp32"), create_detector(DetectorSpec())
    pictures = [read_picture(place / sample.path) for sample in read_index(place)]
    return [cut_views(bundle.manifest.views, picture, detector.detect(picture)[0]) for picture in pictures]


def public_log_odds(place, crops):
    """The calibrated log-odds of the published network, run alone."""
    image = np.stack([face[0][..., ::-1].astype(np.float32).transpose(2, 0, 1) for face in crops])
    session = OrtSession((place / "public.onnx").read_bytes())
    logits = session.run({"input": image}, ["logits"])[0].astype(np.float64)
    raw = logits[:, 1] - np.logaddexp(logits[:, 0], logits[:, 2])
    return np.clip(0.5 * raw - 0.25, -3, 3)


def own_log_odds(crops):
    """Those of the bundle: 0.5 + 3 x mean brightness of its crop."""
    return np.array([0.5 + 3 * (2 * face[1].mean(dtype=np.float64) / 255 - 1) for face in crops])


def test_each_member_says_what_it_says_alone_and_the_score_is_their_sum(place, made, crops):
    bundle = load_bundle(made, precision="fp32")
    embedding, public, own = bundle.scorer.embed(crops), public_log_odds(place, crops), own_log_odds(crops)
    np.testing.assert_allclose(embedding[:, 0], public, atol=1e-4)
    np.testing.assert_allclose(embedding[:, 1], own, atol=1e-4)
    assert embedding.shape == (16, 2 + 3 + 4)
    scores = [result.score for result in bundle.scorer.score(crops)]
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-(0.1 + 2 * public + own) / 1.5)), atol=1e-4)


def test_what_has_no_colour_has_a_calibration_of_its_own(made, crops):
    bundle = load_bundle(made, precision="fp32")
    grey = [tuple(np.repeat(crop.mean(2, keepdims=True), 3, 2).astype(np.uint8) for crop in face) for face in crops]
    np.testing.assert_allclose(bundle.scorer.embed(grey)[:, 1], own_log_odds(grey) + 1, atol=1e-4)


def test_the_heat_map_is_the_share_of_the_explained_member(made, crops):
    [result] = load_bundle(made, precision="fp32").scorer.score(crops[:1], explain=True)
    parts = crops[0][1].reshape(7, 32, 7, 32, 3).mean((1, 3, 4)) / 127.5 - 1
    np.testing.assert_allclose(result.activation, 0.5 + 3 * parts, atol=1e-3)


def test_drift_files_and_card_are_those_of_a_bundle_to_release(made, crops):
    bundle = load_bundle(made)
    manifest = bundle.manifest
    assert (manifest.schema_version, manifest.name, [v.precision for v in manifest.variants]) == (
        2,
        "bundle",
        ["int8", "fp16", "fp32"],
    )
    int8, fp16, fp32 = (variant.parity for variant in manifest.variants)
    assert fp32 is None
    assert 0 < int8.mean_score_drift <= int8.max_score_drift < 0.2
    assert fp16.mean_score_drift < 0.01
    assert int8.images == 8
    [public, own] = manifest.provenance.config["members"]
    assert (public["in_int8"], public["file"]) == (True, "public.onnx")
    assert "in_int8" not in own or own["int8_drift"] < 0.5
    notice = (made / "NOTICE").read_text()
    assert "public: a published network (licence: LICENSE.public)" in notice
    assert (made / "LICENSE.public").read_text() == "as you like\n"
    card = (made / "MODEL_CARD.md").read_text()
    for said in ("a published network", "yes, drift 0.", "It fails in the dark.", "held_out/hall | 9 | 75.0"):
        assert said in card
    assert {"NOTICE", "LICENSE.public", "MODEL_CARD.md", "temporal.onnx"} <= set(manifest.files)
    frames = bundle.scorer.embed(crops[:8])[None]
    assert 0 < bundle.clip_scorer.score_embeddings(frames)[0] < 1


def test_a_member_that_drifts_too_far_stays_as_it_is(place, monkeypatch):
    monkeypatch.setenv("MEMBERS", str(place))
    measure = {"data": ".", "calibrate": 8, "pictures": 8, "most_drift": 1e-9}
    spec = read_spec(spec_of(place, measure=measure, precisions=["int8"], temporal=None))
    manifest = export_committee(spec, place / "strict")
    assert [member["in_int8"] for member in manifest.provenance.config["members"] if "in_int8" in member] == [False]
    assert manifest.variants[0].parity.max_score_drift == 0


def test_embeddings_of_data_are_those_of_the_bundle(place, made, crops):
    out = place / "embeddings.npz"
    done = CliRunner().invoke(app, ["embed", str(made), str(place), "--out", str(out), "--precision", "fp32"])
    assert done.exit_code == 0, done.output
    with np.load(out) as archive:
        np.testing.assert_allclose(
            archive["embedding"], load_bundle(made, precision="fp32").scorer.embed(crops), atol=1e-5
        )
        assert archive["live"].sum() == 8
        assert set(archive["species"]) == {"live", "print"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"view": None}, "needs view and log_odds"),
        ({"bundle": "own"}, "one of network, run and bundle"),
        ({"heatmap": True}, "heat maps need"),
        ({"network": "$NOWHERE/x.onnx"}, "NOWHERE is not set"),
        ({"surprise": 1}, "surprise"),
        ({"weight": float("nan")}, "weight"),
    ],
)
def test_a_faulty_specification_is_refused_with_the_field(place, monkeypatch, change, said):
    monkeypatch.setenv("MEMBERS", str(place))
    content = yaml.safe_load(spec_of(place).read_text())
    content["members"][0] = content["members"][0] | change
    with pytest.raises(SpecError, match=said):
        read_spec(spec_of(place, members=content["members"]))


def test_a_network_without_the_tensors_that_are_named_is_refused(place, monkeypatch):
    monkeypatch.setenv("MEMBERS", str(place))
    content = yaml.safe_load(spec_of(place).read_text())
    for change, said in ({"features": "lost"}, "lost"), ({"network": "none.onnx"}, "none.onnx"):
        member = read_spec(spec_of(place, members=[content["members"][0] | change])).members[0]
        with pytest.raises(SpecError, match=said):
            read_member(member)


def test_heat_maps_lie_on_one_view(place, monkeypatch):
    monkeypatch.setenv("MEMBERS", str(place))
    content = yaml.safe_load(spec_of(place).read_text())
    own = content["members"][1]
    spec = read_spec(spec_of(place, members=[own, own | {"name": "again"}]))
    members = [read_member(member) for member in spec.members]
    assert [view.heatmap for view in merge(members, 0.0).views] == [True]
    other = View(**members[0].view.model_dump() | {"margin": 1.4})
    with pytest.raises(SpecError, match="different views"):
        merge([members[0], type(members[0])(**{**fields(members[1]), "view": other})], 0.0)


def fields(member):
    return {name: getattr(member, name) for name in member.__slots__}


@pytest.mark.slow
def test_published_networks_say_in_a_committee_what_they_say_alone(astronaut_face):
    peers = SHARED / "peers"
    if not peers.is_dir():
        pytest.skip("published networks (../shared/peers) are not on this machine")
    silent = {"softmax": True, "weights": (0, 1, 0)}
    plain = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    box = {"rule": "upright_box", "size": 80, "resampling": "bilinear", "colour_order": "BGR", "max_value": 255} | plain
    square = {"rule": "upright_square", "margin": 1.5, "size": 128, "resampling": "area_lanczos"} | plain
    published = [
        ("silent_face_2.7_80x80", {**box, "margin": 2.7}, silent),
        ("silent_face_4.0_80x80", {**box, "margin": 4.0}, silent),
        ("face_antispoof_minifas_98.20_128x128", square, {"weights": (1, -1)}),
    ]
    members = [
        read_member(
            MemberSpec(
                name=f"m{number}", network=str(peers / f"{name}.onnx"), view=view, log_odds=log_odds, source=name
            )
        )
        for number, (name, view, log_odds) in enumerate(published)
    ]
    merged = merge(members, 0.0)
    pictures = [astronaut(), (astronaut() * 0.5).astype(np.uint8), np.ascontiguousarray(astronaut()[:, :, ::-1])]
    encoder = OrtSession(merged.encoder)
    for picture in pictures:
        crops = cut_views(merged.views, picture, astronaut_face)
        inputs = {view.name: view.to_tensor([crop]) for view, crop in zip(merged.views, crops, strict=True)}
        together = encoder.run(inputs, ["embedding"])[0][0]
        for place, (name, _, _) in enumerate(published):
            alone = OrtSession((peers / f"{name}.onnx").read_bytes())
            colours = crops[place][..., ::-1] if place < 2 else crops[place] / np.float32(255)
            image = np.ascontiguousarray(colours.transpose(2, 0, 1)[None], np.float32)
            out = alone.run({"input": image}, [alone.outputs[0].name])[0][0].astype(np.float64)
            expected = out[1] - np.logaddexp(out[0], out[2]) if place < 2 else out[0] - out[1]
            assert together[place] == pytest.approx(expected, abs=1e-4)
