"""Builds the guide as a site, strictly: a link or an anchor that leads nowhere ends it with an error.

    python docs/build.py OUT          # OUT/site is what a web server gives out

The generator knows only what is inside its folder of pages. Pages that lie elsewhere in the repository (results, the
model card, how to contribute) are put under `repository/` there, and links are changed to suit, so nothing is written
twice.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_LINK = re.compile(r"(?<!!)\[([^\]\[]*)\]\(([^)\s]+)\)")
_KINDS = {".md", ".svg", ".webp", ".css"}


def page_of(file: Path) -> Path:
    """Where a file of the repository lies in the folder of pages."""
    return file.relative_to(DOCS) if file.is_relative_to(DOCS) else Path("repository") / file.relative_to(ROOT)


def linked(file: Path, target: str) -> Path | None:
    """The file of the repository that a page links to, a folder's README.md for a folder; None for other links."""
    if ":" in target or target.startswith("#"):
        return None
    found = (file.parent / target.partition("#")[0]).resolve()
    return found / "README.md" if found.is_dir() else found


def all_pages() -> set[Path]:
    """Every page of docs/, and every page of the repository that can be reached from them."""
    pages: set[Path] = set()
    waiting = list(DOCS.rglob("*.md"))
    while waiting:
        file = waiting.pop()
        pages.add(file)
        for _, target in _LINK.findall(file.read_text(encoding="utf-8")):
            found = linked(file, target)
            if found is not None and found.suffix == ".md" and found.exists() and found not in pages:
                waiting.append(found)
    return pages


def moved(file: Path, pages: set[Path]) -> str:
    """The text of a page, with links that hold in the folder of pages."""

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        found = linked(file, target)
        if found is None:
            return match[0]
        if found not in pages and found.suffix not in _KINDS:  # a file that is no page: the reader sees its name
            return f"{text} (`{found.relative_to(ROOT)}`)" if str(found.relative_to(ROOT)) not in text else text
        to = os.path.relpath(page_of(found), page_of(file).parent)
        fragment = target.partition("#")[2]
        return f"[{text}]({to}{'#' + fragment if fragment else ''})"

    return _LINK.sub(link, file.read_text(encoding="utf-8"))


def stage(out: Path) -> None:
    """Write the folder of pages and the configuration that names it."""
    shutil.rmtree(out, ignore_errors=True)
    pages = all_pages()
    pictures = {file for kind in _KINDS - {".md"} for file in DOCS.rglob(f"*{kind}")}
    for file in pages | pictures:
        path = out / "pages" / page_of(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        if file in pages:
            path.write_text(moved(file, pages), encoding="utf-8")
        else:
            shutil.copyfile(file, path)
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (out / "mkdocs.yml").write_text(settings.replace("docs_dir: docs", "docs_dir: pages"), encoding="utf-8")


def main() -> int:
    """Build into the folder that the command line names; the generator's exit status."""
    out = Path(sys.argv[1])
    stage(out)
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=out, check=False).returncode  # noqa: S603 (its own program beside this Python)


if __name__ == "__main__":
    sys.exit(main())
