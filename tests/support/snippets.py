"""The blocks of code in the pages, with what a comment before each says of how it is checked."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_MARK = re.compile(r"<!-- (not run|run by|then):? (.+?) *-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)
    """What the comment right before it says: `not run`: why; `run by`: a test's file; `then`: what holds afterwards."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a shell block."""

    words: tuple[str, ...]
    variables: dict[str, str]
    """Set for this command alone."""
    out: str | None = None
    """File that gets its output."""
    append: bool = False


def blocks_of(page: Path) -> Iterator[Block]:
    """The page's blocks, in order."""
    fence, start, inside = None, 0, list[str]()
    before = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence is None and (opened := re.match(r"\s*(```+)(\w*)", line)):
            fence, language, start, inside = opened[1], opened[2], number, []
        elif fence is not None and line.strip() == fence:
            yield Block(page, start, language, "\n".join(inside) + "\n", dict(_MARK.findall(before)))
            fence, before = None, ""
        elif fence is not None:
            inside.append(line)
        else:
            # A comment counts for the block right below it: an empty line or text ends that.
            before = f"{before}\n{line}" if line.strip().startswith("<!--") or "<!--" in before else ""
            if "-->" in before and not line.strip().endswith("-->"):
                before = ""


def indented_blocks_of(page: Path) -> list[int]:
    """Lines where a block begins that is set off by blanks: it has no language, and no test would know what it is."""
    fenced = re.compile(r"^ *(```+).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
    text = "\n\n" + fenced.sub(lambda match: "\n" * match[0].count("\n"), page.read_text(encoding="utf-8"))
    return [text[: found.start()].count("\n") + 1 for found in re.finditer(r"\n\n {4}(?![-*] |\d+\. )\S", text)]


def commands_of(text: str) -> list[Command]:
    """The commands of a shell block, as the shell would split them. Pipes are not known here."""
    found = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars="&|>;")
        words.whitespace_split = True
        parts: list[list[str]] = [[]]
        for word in words:
            if word in ("&&", ";"):
                parts.append([])
            else:
                parts[-1].append(word)
        found += [_command(part) for part in parts if part]
    return found


def _command(words: list[str]) -> Command:
    variables, out, append = {}, None, False
    while words and (match := re.fullmatch(r"([A-Z_]+)=(.*)", words[0], re.DOTALL)):
        variables[match[1]] = match[2]
        words = words[1:]
    if len(words) > 2 and words[-2] in (">", ">>"):
        out, append, words = words[-1], words[-2] == ">>", words[:-2]
    assert not {">", ">>", "|", "||", "&"} & set(words), f"not known here: {words}"
    return Command(tuple(words), variables, out, append)


def filled_in(word: str, folder: Path, variables: dict[str, str]) -> str:
    """A word with `$(cat FILE)` and `$NAME` replaced."""
    word = re.sub(r"\$\(cat ([^)]+)\)", lambda match: (folder / match[1]).read_text().strip(), word)
    return re.sub(r"\$\{?(\w+)\}?", lambda match: variables[match[1]], word)
