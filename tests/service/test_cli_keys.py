"""`liveness keys` and `liveness models`: access keys, and signatures of bundles."""

import shutil

import pytest
from typer.testing import CliRunner

from liveness_service.cli import app
from liveness_service.keys import KeyRing, Permission
from support.signing import SigningKey


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
    assert "admin" not in arguments or "score, operations" in refused.stderr
    assert "Traceback" not in refused.output


def models(*arguments, **environment):
    return CliRunner().invoke(app, ["models", *map(str, arguments)], env=environment)


def test_a_bundle_is_signed_and_verified(live_bundle, tmp_path):
    bundle, key = shutil.copytree(live_bundle, tmp_path / "live"), SigningKey.make(tmp_path, passphrase="secret")
    unsigned = models("verify", bundle, "--public-keys", key.public)
    assert (unsigned.exit_code, "liveness models sign" in unsigned.stderr) == (1, True)
    signed = models("sign", bundle, "--key", key.private, LIVENESS_SIGNING_PASSPHRASE="secret")
    assert signed.exit_code == 0, signed.output
    for result in (
        models("verify", bundle, "--public-keys", key.public),
        models("verify", bundle, LIVENESS_BUNDLE_PUBLIC_KEYS=str(key.public.parent)),
    ):
        assert result.exit_code == 0, result.output
        assert signed.stdout.split()[-1] == result.stdout.split()[-1]
    other = models("verify", bundle, "--public-keys", SigningKey.make(tmp_path, "other").public)
    assert (other.exit_code, "none of the trusted keys" in other.stderr) == (1, True)
    assert models("verify", bundle, "--public-keys", tmp_path / "nowhere").exit_code == 1


def test_what_cannot_be_signed_is_not(live_bundle, tmp_path):
    bundle, key = shutil.copytree(live_bundle, tmp_path / "live"), SigningKey.make(tmp_path, passphrase="secret")
    for given in ({}, {"LIVENESS_SIGNING_PASSPHRASE": "wrong"}):
        result = models("sign", bundle, "--key", key.private, **given)
        assert (result.exit_code, "signer.key" in result.stderr) == (2, True)
    (bundle / "classifier.onnx").write_bytes(b"other")
    result = models("sign", bundle, "--key", SigningKey.make(tmp_path).private)
    assert (result.exit_code, "classifier.onnx" in result.stderr) == (1, True)
    assert not (bundle / "model.sig").exists()
