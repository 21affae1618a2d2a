"""The docs say what the code does: settings, error codes, metrics, links, commands."""

import re
from pathlib import Path

import pytest

from liveness_core import quality
from liveness_core.reasons import Reason
from liveness_service import errors, results
from liveness_service.observability.metrics import Metrics
from liveness_service.settings import settings_table

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("benchmarks", "core", "docker", "docs", "kubernetes", "models", "recipes", "service", "tests", "training")
_OF_FOLDERS = (page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "clients/web/README.md", *_OF_FOLDERS])
# The manifest of the default bundle holds the hash of its card, and the history names files that are gone.
NAMES_OLD_FILES = ("models/default/MODEL_CARD.md", "docs/what-was-tried.md")


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives the page's headings: lower case, no punctuation, hyphens for spaces."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#{1,6} +(.+?) *$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


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
    assert set(reasons) == set(Reason)  # each is defined with its text and its advice, and each is given somewhere
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
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link or link.startswith("mailto:"):
            continue
        target, _, fragment = link.partition("#")
        linked = page.parent / target if target else page
        assert linked.exists(), link
        if fragment:
            assert fragment in anchors(linked), link


def test_benchmarks_and_recipes_that_are_named_exist():
    kinds = {".py", ".sh", ".yaml"}
    code = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.suffix in kinds]
    for file in (*PAGES, ROOT / "Makefile", *code):
        if str(file.relative_to(ROOT)) in NAMES_OLD_FILES:
            continue
        for name in re.findall(r"(?<![\w/.-])(?:benchmarks|recipes)/[\w/-]+\.\w+", file.read_text()):
            assert (ROOT / name).exists(), f"{file.relative_to(ROOT)}: {name}"


def test_every_make_target_that_is_mentioned_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for words in re.findall(r"make ([a-z-]+(?: [a-z-]+)* ?)(?=[`;\n])", page.read_text()):
            assert set(words.split()[:1]) <= targets, f"{page.name}: make {words}"


def test_the_threat_model_leaves_out_none_of_the_ten_and_is_found():
    page = (ROOT / "docs/threat-model.md").read_text()
    assert {f"API{number}" for number in range(1, 11)} <= set(re.findall(r"API\d+", page))
    assert {"APCER", "BPCER", "PAI species"} <= set(re.findall(r"APCER|BPCER|PAI species", page))
    assert re.search(r"AML\.T\d{4}", page)
    for path in re.findall(r"`(tests/[\w/.]+)`", page):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`(LIVENESS_\w+)`", page):
        assert f"| `{name}` |" in settings_table(), name
    for name in ("README.md", "SECURITY.md", "docs/architecture.md"):
        assert "threat-model.md" in (ROOT / name).read_text(), name
