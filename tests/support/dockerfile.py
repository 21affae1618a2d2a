"""Reading Dockerfiles, as far as ours go."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@dataclass(frozen=True, slots=True)
class Stage:
    """One FROM and what follows it."""

    image: str
    instructions: list[tuple[str, str]]
    """Name in capitals and the rest, lines joined."""

    def all(self, name: str) -> list[str]:
        """What every instruction of this name says."""
        return [rest for each, rest in self.instructions if each == name]

    def one(self, name: str) -> str:
        """What the one instruction of this name says."""
        (rest,) = self.all(name)
        return rest

    def words(self, name: str) -> list[str]:
        """The exec form of an instruction: no shell stands between it and the program."""
        words: list[str] = json.loads(self.one(name))
        return words

    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        return dict(word.split("=", 1) for rest in self.all("ENV") for word in shlex.split(rest))


def stages_of(path: Path) -> list[Stage]:
    """The stages of a Dockerfile in order; the last is the image."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, rest = line.split(maxsplit=1)
        if name == "FROM":
            stages.append(Stage(rest, []))
        else:
            stages[-1].instructions.append((name, rest))
    return stages
