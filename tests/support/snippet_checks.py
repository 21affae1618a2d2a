"""How the commands of the pages' shell blocks are checked: run where that is cheap, else by what they name."""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
import typer
import typer.main
import yaml
from typer.testing import CliRunner

from liveness_service import cli as service_cli
from liveness_service.settings import Settings
from support.snippets import ROOT, Command, filled_in

ADDRESS = re.compile(r"(?:https?://(?:liveness\.example\.com|127\.0\.0\.1:8000|localhost:8000)|localhost:8000)")
# Commands of `liveness` that are run; of the others the options are read.
_RUN = {("score",), ("settings",), ("keys", "new"), ("models", "list")}
_PASSPHRASE = "a passphrase"


@dataclass(frozen=True, slots=True)
class FolderOfAReader:
    """The folder in which somebody follows a page, and the service that they ask."""

    folder: Path
    url: str
    variables: dict[str, str] = field(default_factory=lambda: {"KEY": "lv_somebody"})
    """Of the reader's shell; what a session's answer has comes after it was opened."""

    def path(self, name: str) -> Path:
        return self.folder / name

    @property
    def photo(self) -> bytes:
        return self.path("photo.jpg").read_bytes()

    @property
    def clip(self) -> bytes:
        return self.path("clip.mp4").read_bytes()

    @property
    def paths(self) -> set[str]:
        return set(_description(self.url)["paths"])


@cache
def _description(url: str) -> dict:
    return httpx.get(f"{url}/openapi.json").json()


@cache
def known_names(url: str) -> set[str]:
    """Names of members of the API's answers and of the lines of the audit log."""
    schemas = _description(url)["components"]["schemas"].values()
    names = {name for schema in schemas for name in schema.get("properties", {})}
    source = "".join(file.read_text() for file in (ROOT / "service/liveness_service/audit").glob("*.py"))
    return names | {name for pair in re.findall(r'"(\w+)"|\b(\w+)=', source) for name in pair}


def check_command(command: Command, place: FolderOfAReader) -> None:
    """Raise AssertionError if the command would not work, KeyError if nobody knows how to check it."""
    for name, value in command.variables.items():
        _check_variable(name, value)
    if not command.words:
        return
    program, *arguments = command.words
    (_PROGRAMS[program])(arguments, command, place)


def _check_variable(name: str, value: str) -> None:
    if name.startswith("LIVENESS_"):
        setting = name.removeprefix("LIVENESS_").lower()
        assert setting in Settings.model_fields, f"no setting {name}"
        if not value.startswith("$"):
            Settings(**{setting: value, "allow_anonymous": True})
    else:
        assert name in {"PORT", "OMP_NUM_THREADS", "MALLOC_MMAP_MAX_", "KEY"} or name.startswith("OTEL_"), name


def _parse(app: typer.Typer, arguments: list[str]) -> None:
    """Read the options of a command line without running it."""
    command = typer.main.get_command(app)
    words, context = list(arguments), None
    try:
        while True:
            context = command.make_context(command.name, words, parent=context)
            if not hasattr(command, "commands"):
                return
            # Some versions of Typer use click, others a copy of it, so its classes are not named here.
            words = [*context._protected_args, *context.args]
            assert words[0] in command.commands, f"no command {words[0]}"
            command, words = command.commands[words[0]], words[1:]
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise AssertionError(f"{' '.join(arguments)}: {error.format_message()}") from error


def check_mention(text: str) -> None:
    """Of a command in the middle of a sentence, which may lack arguments: its name and its options exist."""
    from liveness_training.cli import app as training

    program, *words = text.split()
    command = typer.main.get_command(training if program == "liveness-train" else service_cli.app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{text}: no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    for word in words:
        assert not word.startswith("--") or word.partition("=")[0].rstrip("…") in known, f"{text}: no option {word}"


def _liveness(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    _parse(service_cli.app, arguments)
    if not any(tuple(arguments[: len(run)]) == run for run in _RUN):
        return
    environment = command.variables | {"LIVENESS_CLIENT_URL": place.url, "LIVENESS_WORKERS": "0"}
    words = [word for word in arguments if not word.startswith("http://")]
    done = CliRunner().invoke(service_cli.app, words, env=environment)
    assert done.exit_code in ((0, 1) if arguments[0] == "score" else (0,)), done.output
    if command.out is not None:
        with place.path(command.out).open("a" if command.append else "w") as file:
            file.write(done.stdout)


def _liveness_train(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    from liveness_training.cli import app

    _parse(app, arguments)


def _curl(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    place.path("docker/secrets").mkdir(parents=True, exist_ok=True)
    place.path("docker/secrets/client_key").write_text("lv_somebody")
    words = [filled_in(word, place.folder, place.variables) for word in arguments]
    words = [ADDRESS.sub(place.url, word) for word in words]
    # A page cannot show a whole picture in base64.
    words = [word.replace("data:image/jpeg;base64,…", _data_url(place)) for word in words]
    told = ["curl", "--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}", *words]
    done = subprocess.run(told, cwd=place.folder, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    answer, _, status = done.stdout.rpartition("\n")
    assert status.startswith("2"), done.stdout
    if words[-1].endswith("/v1/sessions"):
        place.variables.update({name.upper(): str(value) for name, value in json.loads(answer).items()})


def _data_url(place: FolderOfAReader) -> str:
    import base64

    return "data:image/jpeg;base64," + base64.b64encode(place.photo).decode()


def _openssl(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    # Where a person is asked for a passphrase.
    extra = {"genpkey": ["-pass", f"pass:{_PASSPHRASE}"], "pkey": ["-passin", f"pass:{_PASSPHRASE}"]}
    words = ["openssl", *arguments, *extra.get(arguments[0], [])]
    done = subprocess.run(words, cwd=place.folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    if command.out is not None:
        place.path(command.out).write_text(done.stdout)


def _make(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for word in arguments:
        assert word in targets or re.fullmatch(r"[A-Z_]+=\S*", word), f"no target {word}"


def _pip(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert arguments[0] in ("install", "download"), arguments[0]
    for option, word in pairwise(arguments):
        if option in ("-c", "-r"):
            assert (ROOT / word).is_file(), word
    for word in arguments:
        if match := re.fullmatch(r"(?:\.|face-liveness)\[([\w,]+)\]", word):
            assert set(match[1].split(",")) <= set(known), word
        elif "==" in word:
            pinned = (ROOT / "constraints.txt").read_text() + (ROOT / "requirements/dev.txt").read_text()
            assert word in pinned or arguments[0] == "download", f"{word} is not what constraints.txt has"


def _docker(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    profiles = {profile for service in compose.values() for profile in service.get("profiles", [])}
    if arguments[0] == "compose":
        rest = arguments[1:]
        while rest[0] == "--profile":
            assert rest[1] in profiles, rest[1]
            rest = rest[2:]
        verb, words = rest[0], [word for word in rest[1:] if word not in ("--rm", "-d")]
        assert verb in ("build", "up", "down", "exec", "run", "restart", "logs"), verb
        if words:
            assert words[0] in compose, f"no service {words[0]}"
        if verb == "run":
            assert words[0] == "training", words[0]
            _liveness_train(words[1:], command, place)
        elif verb == "exec":
            assert words[1] == "liveness", words
            _liveness(words[2:], command, place)
    elif arguments[0] == "run":
        image = arguments.index("face-liveness:cpu")
        _liveness(arguments[image + 1 :], command, place)
    else:
        assert arguments[0] == "build", arguments[0]
        assert (ROOT / arguments[arguments.index("-f") + 1]).is_file()


def _kubectl(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    words = arguments[2:] if arguments[0] == "-n" else arguments
    if words[0] == "create":  # needs no cluster
        place.path("signing.pem").touch()
        told = ["kubectl", *words, "--dry-run=client", "--output=yaml"]
        done = subprocess.run(told, cwd=place.folder, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert yaml.safe_load(done.stdout)["metadata"]["name"].startswith("liveness")
        return
    assert words[0] in ("apply", "label", "rollout", "get"), words[0]
    for word in words:
        assert not word.startswith("deployment/") or word == "deployment/liveness", word


def _helm(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    assert (ROOT / arguments[arguments.index("-f") + 1]).is_file()


def _torchrun(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    module = arguments.index("liveness_training.cli")
    _liveness_train(arguments[module + 1 :], command, place)


def _script(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    """A script of the repository: it is there and knows each option."""
    source = (ROOT / arguments[0]).read_text()
    for word in arguments[1:]:
        assert not word.startswith("--") or word.partition("=")[0] in source, word


def _promtool(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    assert arguments[:2] in (["test", "rules"], ["check", "config"]), arguments
    assert list(ROOT.glob(arguments[-1])), arguments[-1]


def _nothing(arguments: list[str], command: Command, place: FolderOfAReader) -> None:
    """`export NAME=VALUE`: the names are checked."""
    for word in arguments:
        _check_variable(*word.split("=", 1))


_PROGRAMS: dict[str, Callable[[list[str], Command, FolderOfAReader], None]] = {
    "liveness": _liveness,
    "liveness-train": _liveness_train,
    "curl": _curl,
    "openssl": _openssl,
    "make": _make,
    "pip": _pip,
    "docker": _docker,
    "kubectl": _kubectl,
    "helm": _helm,
    "torchrun": _torchrun,
    "python": _script,
    "promtool": _promtool,
    "export": _nothing,
}
