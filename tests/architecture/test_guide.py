"""The guide as a site: it is built strictly, has every page, and asks nobody else for anything."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build_guide", DOCS / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("guide")
    done = subprocess.run(
        [sys.executable, DOCS / "build.py", out], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "site"


@pytest.mark.slow  # `make check` builds the guide too
def test_every_page_is_there_and_pages_of_the_repository_too(site):
    for page in DOCS.rglob("*.md"):
        path = page.relative_to(DOCS).with_suffix("")
        path = path.parent if path.name in ("README", "index") else path
        assert (site / path / "index.html").exists(), page.name
    results = (site / "repository/benchmarks/RESULTS/index.html").read_text()
    assert 'href="../../../training/#the-default-bundle"' in results  # the link was changed to suit


@pytest.mark.slow
def test_the_site_asks_nobody_else_for_anything(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.search(r"""<(?:script|link|img|iframe|source)[^>]+(?:src|href)=["']?(?:https?:)?//""", text), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""", sheet.read_text()), sheet


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path):
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# Page\n\n[away](nowhere.md)\n")
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump({name: settings[name] for name in ("site_name", "theme")}))
    command = [Path(sys.executable).with_name("zensical"), "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "page does not exist" in done.stdout + done.stderr


def test_the_navigation_has_every_page_once():
    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        return [page for each in (entry.values() if isinstance(entry, dict) else entry) for page in pages(each)]

    named = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert len(named) == len(set(named))
    own = {str(page.relative_to(DOCS)) for page in DOCS.glob("*.md")} | {"adr/README.md"}
    assert {page for page in named if not page.startswith("repository/")} == own
    for page in named:
        assert not page.startswith("repository/") or (ROOT / page.removeprefix("repository/")).exists(), page


def test_links_out_of_the_docs_are_changed_and_others_are_not(build):
    pages = build.all_pages()
    text = build.moved(DOCS / "limits.md", pages)
    assert "(repository/models/default/MODEL_CARD.md#where-it-fails)" in text
    assert "(capture.md)" in text
    card = build.moved(ROOT / "models/default/MODEL_CARD.md", pages)
    assert "(../../../adr/0022-what-phones-write.md)" in card


def test_the_figures_for_ten_thousand_users_a_day_are_right():
    page = (DOCS / "concepts.md").read_text()
    section = page.split("## What 5 % means at 10,000 users a day\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (\d+) \| (\d+) \|$", section, re.MULTILINE)
    people, attacks = 9_900, 100
    computed = [
        [people * rate for rate in (0.05, 0.01)],
        [people * rate**2 for rate in (0.05, 0.01)],
        [attacks * rate for rate in (0.05, 0.01)],
        [attacks * (1 - (1 - rate) ** 3) for rate in (0.05, 0.01)],
    ]
    assert [[int(five), int(one)] for _, five, one in rows] == [[round(value) for value in row] for row in computed]
    refused = people * 0.05 + attacks * 0.95
    assert (
        f"{refused:.0f} presentations a day are refused, and {people * 0.05:.0f} of them ({people * 5 / refused:.0f} %)"
        in (section)
    )
