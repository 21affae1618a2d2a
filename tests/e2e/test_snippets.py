"""Every block of code in README and the docs does what it says: it is run, checked, or says why not.

Shell: `curl` asks a real service, `openssl` and the commands of `liveness` that need nothing else run in an empty
folder; of all other commands the options, files, targets and services are checked. Python runs against the same
service. A comment right before a block changes that:

    <!-- not run: WHY -->             a reader's reason, for what no test can do
    <!-- run by tests/…/test_X.py --> that file runs it; it must name the page
    <!-- then: assert … -->           Python, after the block
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace

import httpx
import pytest
import yaml

from liveness_client import LivenessClient
from liveness_service.settings import Settings
from support.clips import person_clip
from support.compose import COMPOSE
from support.pictures import astronaut, encoded
from support.snippet_checks import ADDRESS, FolderOfAReader, check_command, check_mention, known_names
from support.snippets import ROOT, blocks_of, commands_of, indented_blocks_of
from support.tiny_bundle import make_tiny_bundle

FOLDERS = ("benchmarks", "clients", "core", "docker", "docs", "kubernetes", "models", "recipes", "service", "tests")
_FOUND = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
# The changelog tells of commands that are gone, and packages of others are no pages of ours.
PAGES = sorted(page for page in _FOUND if page.name != "CHANGELOG.md" and "node_modules" not in page.parts)
WITH_BLOCKS = [page for page in PAGES if any(True for _ in blocks_of(page))]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """For commands without a server: a small one is loaded faster."""
    make_tiny_bundle(path := tmp_path_factory.mktemp("bundle") / "tiny", bias=5, temporal=True)
    return path


@pytest.fixture
def place(server, bundle, tmp_path, monkeypatch):
    """A folder with the files that the pages take for granted, and a service to ask."""
    (tmp_path / "photo.jpg").write_bytes(encoded(astronaut()))
    for name in ("clip.mp4", "clip.webm"):  # what a file is, its content says
        (tmp_path / name).write_bytes(person_clip())
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LIVENESS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIVENESS_BUNDLE_PATH", str(bundle))
    return FolderOfAReader(tmp_path, server.url)


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_do_what_they_say(page, place):
    namespace = {"photo": place.photo, "clip": place.clip, "httpx": httpx}
    for block in blocks_of(page):
        try:
            if "not run" in block.marks:
                assert len(block.marks["not run"].split()) >= 3, "say why"
            elif "run by" in block.marks:
                path = block.marks["run by"].split(",")[0].split()[0]
                assert page.name in (ROOT / path).read_text(), f"{path} does not name {page.name}"
            else:
                CHECKS[block.language](block, place, namespace)
        except KeyError as error:
            raise AssertionError(f"{block}: no check for {error}; see the top of this file") from error
        except Exception as error:
            raise AssertionError(f"{block}: {type(error).__name__}: {error}") from error
    for each in namespace.values():  # a back end keeps its client for as long as it runs
        if isinstance(each, LivenessClient):
            each.close()


def shell(block, place, namespace):
    for command in commands_of(block.text):
        check_command(command, place)


def python(block, place, namespace):
    """Run it. Files are those of `place`, and addresses lead to the service."""
    exec(compile(ADDRESS.sub(place.url, block.text).replace("…", ""), str(block), "exec"), namespace)
    if "then" in block.marks:
        exec(ADDRESS.sub(place.url, block.marks["then"]), namespace)


def javascript(block, place, namespace):
    """Parse it, and look up its paths."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    source = re.sub(r"^ *import .*?;$", "", block.text, flags=re.MULTILINE)
    command = ["node", "--input-type=module", "--check"]
    done = subprocess.run(command, input=source, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    no_unknown_path(block.text, place)


def html(block, place, namespace):
    """Parse its scripts; attributes and events are those of the capture component."""
    source = "".join(file.read_text() for file in (ROOT / "clients/web/src").glob("*.ts"))
    for script in re.findall(r"<script[^>]*>(.*?)</script>", block.text, re.DOTALL):
        javascript(replace(block, text=script), place, namespace)
    tags = " ".join(re.findall(r"<face-liveness-capture([^>]*)>", block.text))
    names = re.findall(r"([\w-]+)=", tags) + re.findall(r"(?:setAttribute|addEventListener)\('([\w-]+)'", block.text)
    assert names, "nothing to check"
    for name in names:
        assert f"'{name}'" in source, f"the component does not know {name}"


def json_text(block, place, namespace):
    """Every name in it is one of the API, or of the audit log."""

    def names(value):
        if isinstance(value, dict):
            yield from value
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from names(each)

    unknown = set(names(json.loads(block.text))) - known_names(place.url)
    assert not unknown, f"not in any answer: {unknown}"


def yaml_text(block, place, namespace):
    content = yaml.safe_load(block.text)
    if "members" in content:
        from liveness_training.export.committee_spec import read_spec

        for name in ("SPEC.yaml", "published.onnx", "LICENSE"):
            place.path(name).write_text(block.text.replace("$NETWORKS/", ""))
        assert len(read_spec(place.path("SPEC.yaml")).members) == len(content["members"])
    elif "services" in content:  # an override of Compose
        for name, service in content["services"].items():
            assert name in COMPOSE["services"], name
            assert set(service) <= {"environment", "volumes"}, service
            for setting in service["environment"]:
                assert setting.removeprefix("LIVENESS_").lower() in Settings.model_fields, setting
    else:
        raise KeyError(f"YAML with {', '.join(content)}")


def csv_text(block, place, namespace):
    from liveness_service.calibration.dataset import read_index as read_labels
    from liveness_training.data.samples import read_index as read_samples

    place.path("index.csv").write_text(block.text)
    for line in block.text.splitlines()[1:]:
        place.path(line.split(",")[0]).parent.mkdir(exist_ok=True)
        place.path(line.split(",")[0]).touch()
    labels = "species" in block.text.splitlines()[0]
    read = read_labels(place.path("index.csv")) if labels else read_samples(place.path(""))
    assert len(read) == block.text.count("\n") - 1


def plain(block, place, namespace):
    commands = r"^ *(curl|liveness(-train)?|make|docker|kubectl|pip|python|npm|npx) "
    assert not re.search(commands, block.text, re.MULTILINE), "a command: say `sh`"


def no_unknown_path(text, place):
    for path in re.findall(r"/v1/[\w/-]+", text):
        assert path in place.paths, path


CHECKS = {
    "sh": shell,
    "python": python,
    "js": javascript,
    "html": html,
    "json": json_text,
    "yaml": yaml_text,
    "csv": csv_text,
    "text": plain,
}


def test_blocks_have_fences_and_settings_exist():
    """Code that is set off by blanks has no language, and no test would know what it is."""
    found = [f"{page.relative_to(ROOT)}:{line}" for page in PAGES for line in indented_blocks_of(page)]
    for page in PAGES:
        for name in re.findall(r"\bLIVENESS_[A-Z0-9_]+(?![A-Z0-9_*…])", page.read_text()):
            setting = name.removeprefix("LIVENESS_").lower()
            if setting not in Settings.model_fields and name not in NOT_OF_THE_SERVICE and not name.endswith("_"):
                found.append(f"{page.relative_to(ROOT)}: {name}")
    assert found == []


def test_commands_in_sentences_exist():
    found = []
    for page in PAGES:
        # Text between single backticks, which a line may break.
        for text in re.findall(r"(?<!`)`((?:liveness|liveness-train) [^`]+)`(?!`)", page.read_text()):
            try:
                check_mention(text)
            except AssertionError as error:
                found.append(f"{page.relative_to(ROOT)}: {error}")
    assert found == []


NOT_OF_THE_SERVICE = {"LIVENESS_CLIENT_URL", "LIVENESS_CLIENT_KEY", "LIVENESS_SIGNING_PASSPHRASE"}


def test_a_block_that_nothing_checks_is_found(tmp_path, place):
    page = ROOT / "docs" / "no_such_page.md"
    for language, text, told in (
        ("sh", "curl -F image=@photo.jpg localhost:8000/v1/livenes", "404"),
        ("sh", "liveness score photo.jpg --no-such-option", "--no-such-option"),
        ("sh", "liveness-train fly", "fly"),
        ("sh", "make believe", "believe"),
        ("sh", "LIVENESS_NO_SUCH=1 liveness serve", "LIVENESS_NO_SUCH"),
        ("sh", "docker compose up nothing", "nothing"),
        ("sh", "pip install '.[nothing]'", "nothing"),
        ("sh", "rm -rf x", "rm"),
        ("json", '{"verdikt": "live"}', "verdikt"),
        ("python", "assert 1 == 2, 'two'", "two"),
        ("text", "curl x", "command"),
    ):
        block = type(next(blocks_of(ROOT / "docs/start.md")))(page, 1, language, text + "\n")
        with pytest.raises((AssertionError, KeyError), match=re.escape(told)):
            CHECKS[language](block, place, {})
    for text in (
        "liveness fly",
        "liveness keys fly",
        "liveness score --no-such",
        "liveness-train train data --no-such",
    ):
        with pytest.raises(AssertionError, match=r"fly|no-such"):
            check_mention(text)
