"""The docs say what the code does: settings, error codes, metrics, links, commands."""

import re
from pathlib import Path

import pytest

from liveness_core import quality
from liveness_service import errors, results
from liveness_service.observability.metrics import Metrics
from liveness_service.settings import settings_table

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])


def test_the_settings_page_is_what_the_command_prints():
    assert settings_table() in (ROOT / "docs/settings.md").read_text()


def test_every_error_code_is_documented_with_its_status():
    rows = [line for line in (ROOT / "docs/api.md").read_text().splitlines() if line.startswith("| ")]
    for error in errors.ServiceError.__subclasses__():
        assert any(f"`{error.code}`" in row and str(error.status) in row for row in rows), error.code


def test_every_reason_is_documented():
    page = (ROOT / "docs/api.md").read_text()
    constants = [pair for module in (quality, results) for pair in vars(module).items()]
    reasons = [value for name, value in constants if isinstance(value, str) and value == name.lower()]
    assert "no_face" in reasons
    assert "too_blurry" in reasons
    for reason in reasons:
        assert f"`{reason}`" in page, reason


def test_every_metric_is_documented():
    page = (ROOT / "docs/api.md").read_text()
    ours = [family.name for family in Metrics().registry.collect() if family.name.startswith("liveness_")]
    assert len(ours) >= 10
    for name in ours:
        assert f"`{name}`" in page or f"`{name}_total`" in page, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_make_target_that_is_mentioned_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for words in re.findall(r"make ((?:[a-z-]+ ?)+)(?=[`;\n])", page.read_text()):
            assert set(words.split()[:1]) <= targets, f"{page.name}: make {words}"
