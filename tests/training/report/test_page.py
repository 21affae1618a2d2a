import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from torch import nn

from liveness_core.preprocess import PreprocessSpec
from liveness_core.scoring import LIVE, SPOOF, Scorer
from liveness_service.scoring.heatmap import speaking_for
from liveness_training.models.network import ImageNetwork
from liveness_training.report import plots
from liveness_training.report.gradcam import grad_cam, weighted_map
from liveness_training.report.page import report_run
from liveness_training.runs.folder import RunFolder
from support.networks import SmallEncoder
from support.training_run import recordings, run

pytestmark = pytest.mark.usefixtures("short_networks")
PREPROCESS = PreprocessSpec(margin=1.5, size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
TEMPERATURE = 0.7


class FakeSession:
    """A network of PyTorch in the place of its ONNX file."""

    provider = "cpu"

    def __init__(self, names, compute):
        self.names, self.compute = names, compute

    def run(self, tensors, wanted):
        with torch.no_grad():
            outputs = self.compute(*(torch.from_numpy(tensors[name]) for name in self.names))
        return [outputs[name].numpy() for name in wanted]


class Links(HTMLParser):
    """What a page would fetch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "a & b"
    run(path, "hold_out=hall", "steps=2")
    metrics = json.loads((path / "metrics.json").read_text())
    metrics["test/<script>alert(1)</script>"] = next(iter(metrics.values()))
    (path / "metrics.json").write_text(json.dumps(metrics))
    return path


def drawn_once(patch):
    """Have each kind of plot drawn once and shown wherever one of its kind is: three of four seconds of a page."""
    for kind in ("roc", "det", "histogram"):
        draw, made = getattr(plots, kind), []
        patch.setattr(plots, kind, lambda *given, draw=draw, made=made: (made or made.append(draw(*given)) or made)[0])


def page_of(folder):
    with pytest.MonkeyPatch.context() as patch:
        drawn_once(patch)
        return report_run(RunFolder.read(folder), recordings()).read_text()


@pytest.fixture(scope="module")
def page(folder):
    return page_of(folder)


def test_page_holds_all_in_itself(page):
    links = Links()
    links.feed(page)
    assert links.found
    assert all(link.startswith(("data:image/", "#")) for link in links.found)
    assert "@import" not in page
    assert "url(" not in page


def test_every_section_is_there(page):
    for title in ("What it was", "Figures", "Curves and thresholds", "Losses", "Features", "Activation maps"):
        assert f">{title}</h2>" in page
    for alt in ("ROC curves", "DET curves", "Scores by species", "Losses over the iterations", "t-SNE of embeddings"):
        assert f'alt="{alt}"' in page
    assert page.count('alt="ROC curves"') == 3  # frames, recordings, clips
    assert page.count('alt="activation map"') > 2
    assert "<title>Run a &amp; b</title>" in page


def test_figures_are_those_of_the_run_and_hter_is_told_apart(page, folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "dev" in metrics
    for part, values in metrics.items():
        [row] = re.findall(rf"<tr><td>{re.escape(html.escape(part))}</td>.*?</tr>", page)
        assert f"{100 * values['auc']:.2f}" in row
        if part.startswith("dev"):
            continue
        realistic, idealised = (
            re.search(rf'class="{name}">([\d.]+)', row).group(1) for name in ("realistic", "idealised")
        )
        assert float(realistic) == pytest.approx(100 * values["hter_realistic"], abs=0.006)
        assert float(idealised) == pytest.approx(100 * values["hter_idealised"], abs=0.006)
    assert "Never compare one with the other" in page


@pytest.fixture
def without_plots(monkeypatch):
    """They take seconds, and hold no text of the page."""
    for draw in ("roc", "det", "histogram", "losses", "features"):
        monkeypatch.setattr(plots, draw, lambda *_: "data:image/png;base64,")


def test_what_is_missing_is_said(tmp_path, without_plots):
    run(tmp_path / "photos", "lstm=false", "dvb=false", "steps=1")
    page = report_run(RunFolder.read(tmp_path / "photos"), recordings()).read_text()
    assert "no temporal head" in page
    assert "No domain was held out" in page


def test_names_from_data_are_escaped(page):
    assert "<script>" not in page
    assert "test/&lt;script&gt;" in page


@pytest.mark.slow
def test_the_same_run_gives_the_same_page(page, folder):
    assert page_of(folder) == page


@pytest.mark.parametrize("column", [0, 1])
def test_grad_cam_of_a_linear_classifier_is_its_weighted_feature_map(column):
    torch.manual_seed(0)
    network = ImageNetwork(SmallEncoder()).eval()
    nn.init.normal_(network.classifier.weight)
    image = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        features = network.encoder(image)[1]
        expected = torch.einsum("d,ndhw->nhw", network.classifier.weight[column], features).relu()
    expected = (expected / expected.amax((1, 2), keepdim=True)).numpy()
    actual = grad_cam(network, image, column)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    assert actual.min() >= 0
    assert actual.max() == pytest.approx(1)


def test_the_services_heat_map_is_grad_cam_of_live_against_spoof_up_to_a_constant():
    torch.manual_seed(1)
    network = ImageNetwork(SmallEncoder()).eval()
    nn.init.normal_(network.classifier.weight)
    scorer = Scorer(
        FakeSession(
            ("image",), lambda image: dict(zip(("embedding", "features"), network.encoder(image), strict=True))
        ),
        FakeSession(("embedding",), lambda embedding: {"logits": network.classifier(embedding)}),
        PREPROCESS,
        TEMPERATURE,
    )
    crop = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    [result] = scorer.score([crop], explain=True)
    shown = speaking_for(result.activation, TEMPERATURE, result.score, 0.3)
    image = torch.from_numpy(PREPROCESS.to_tensor([crop]))
    live, spoof = (weighted_map(network, image, column)[0].numpy() for column in (LIVE, SPOOF))
    expected = live.size * (live - spoof) / TEMPERATURE
    np.testing.assert_allclose(shown - shown.mean(), expected - expected.mean(), rtol=1e-3, atol=1e-4)
    assert shown.mean() == pytest.approx(np.log(result.score / (1 - result.score)) - np.log(0.3 / 0.7), abs=1e-4)
    # The whole difference of the logits is in the map: with a committee's other members away, nothing else shifts it.
    logit = np.log(result.score / (1 - result.score))
    bias = float((network.classifier.bias[LIVE] - network.classifier.bias[SPOOF]).detach())
    assert expected.mean() + bias / TEMPERATURE == pytest.approx(logit, abs=1e-3)
