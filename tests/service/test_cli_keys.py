import pytest
from typer.testing import CliRunner

from liveness_service.cli import app
from liveness_service.keys import KeyRing, Permission


def new(*arguments):
    return CliRunner().invoke(app, ["keys", "new", *arguments])


def test_the_entry_goes_to_the_file_and_the_key_to_the_person():
    made = new("backend")
    assert made.exit_code == 0
    [key] = [line for line in made.stderr.splitlines() if line.startswith("lv_")]
    assert key not in made.stdout
    assert made.stdout.count("\n") == 1
    entry = KeyRing.parse(made.stdout).find(key)
    assert (entry.name, entry.permissions) == ("backend", {Permission.SCORE})


@pytest.mark.parametrize("permissions", ["operations", "score+operations"])
def test_permissions_are_chosen(permissions):
    assert new("prometheus", "--permissions", permissions).stdout.startswith(f"prometheus:{permissions}:")


@pytest.mark.parametrize("arguments", [["none"], ["a:b"], [""], ["backend", "--permissions", "admin"]])
def test_what_cannot_be_an_entry_is_refused(arguments):
    refused = new(*arguments)
    assert refused.exit_code == 2
    assert refused.stdout == ""
    assert len(refused.stderr) > 10
    assert "Traceback" not in refused.output
