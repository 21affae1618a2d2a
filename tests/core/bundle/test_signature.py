"""A bundle is only what somebody who is trusted has signed; the format is that of sigstore's `model-signing`."""

import base64
import hashlib
import json
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from liveness_core.bundle import BundleError, Manifest, SignatureError, load_bundle, save_bundle
from liveness_core.bundle.signature import KeyFileError, TrustedKeys, key_id, read_private_key, sign_bundle
from support.signing import SigningKey
from support.tiny_bundle import make_tiny_bundle

# `model_signing sign key` 1.1.1 made this, of a folder with a.txt ("a") and bundle.json ("{}"), a new line after each.
RECORDED = (
    '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"966f'
    'e3914e546ba9d796cfe5e72a095a70c6514355fa9df6eb04b0a4266a3b31"},"tlogEntries":[]},"dsseEnvelope":{"payload":"ew'
    "ogICJfdHlwZSI6ICJodHRwczovL2luLXRvdG8uaW8vU3RhdGVtZW50L3YxIiwKICAic3ViamVjdCI6IFsKICAgIHsKICAgICAgIm5hbWUiOiAi"
    "bSIsCiAgICAgICJkaWdlc3QiOiB7CiAgICAgICAgInNoYTI1NiI6ICIwMzg4Yzc5ZGM1MjFkMjhiNjU0ZTdmMjJlNTc5YzBiOWEzMjE0OGJiNj"
    "NkMjgzOGYyNjliMGE2MmYwZGFiZDM0IgogICAgICB9CiAgICB9CiAgXSwKICAicHJlZGljYXRlVHlwZSI6ICJodHRwczovL21vZGVsX3NpZ25p"
    "bmcvc2lnbmF0dXJlL3YxLjAiLAogICJwcmVkaWNhdGUiOiB7CiAgICAic2VyaWFsaXphdGlvbiI6IHsKICAgICAgImlnbm9yZV9wYXRocyI6IF"
    "sKICAgICAgICAiLmdpdGh1YiIsCiAgICAgICAgIi5naXQiLAogICAgICAgICIuZ2l0aWdub3JlIiwKICAgICAgICAiLmdpdGF0dHJpYnV0ZXMi"
    "LAogICAgICAgICJtb2RlbC5zaWciCiAgICAgIF0sCiAgICAgICJoYXNoX3R5cGUiOiAic2hhMjU2IiwKICAgICAgImFsbG93X3N5bWxpbmtzIj"
    "ogZmFsc2UsCiAgICAgICJtZXRob2QiOiAiZmlsZXMiCiAgICB9LAogICAgInJlc291cmNlcyI6IFsKICAgICAgewogICAgICAgICJuYW1lIjog"
    "ImEudHh0IiwKICAgICAgICAiZGlnZXN0IjogIjg3NDI4ZmM1MjI4MDNkMzEwNjVlN2JjZTNjZjAzZmU0NzUwOTY2MzFlNWUwN2JiZDdhMGZkZT"
    "YwYzRjZjI1YzciLAogICAgICAgICJhbGdvcml0aG0iOiAic2hhMjU2IgogICAgICB9LAogICAgICB7CiAgICAgICAgIm5hbWUiOiAiYnVuZGxl"
    "Lmpzb24iLAogICAgICAgICJkaWdlc3QiOiAiY2EzZDE2M2JhYjA1NTM4MTgyNzIyNjE0MDU2OGYzYmVmN2VhYWMxODdjZWJkNzY4NzhlMGI2M2"
    'U5ZTQ0MjM1NiIsCiAgICAgICAgImFsZ29yaXRobSI6ICJzaGEyNTYiCiAgICAgIH0KICAgIF0KICB9Cn0=","payloadType":"application'
    '/vnd.in-toto+json","signatures":[{"sig":"MEUCIDU+Dij0N4N83NO/02fHSr8h35Rck2fEyzdwcRFgSRl1AiEA+5tdQG25ZxRdaxhXj'
    'ACnmn1y81uDNXOLAb7LdeTpf78=","keyid":""}]}}'
)
RECORDED_KEY = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECvJ10MM/auQoxfNR3vSiVlycKFxQ
w66TfAl9zFoWVtXFwyT9lVuXu+12m4T/t6MA4ocRRyhkml7n4UNqgaVvfg==
-----END PUBLIC KEY-----
"""


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return SigningKey.make(tmp_path_factory.mktemp("signer"))


@pytest.fixture(scope="module")
def original(tmp_path_factory, signer):
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    make_tiny_bundle(path, bias=0.5, gain=2.0)
    return signer.sign(path)


@pytest.fixture
def bundle(original, tmp_path):
    return shutil.copytree(original, tmp_path / "tiny")


def refused(path, trusted, error=SignatureError):
    with pytest.raises(error) as raised:
        load_bundle(path, trusted=trusted)
    return raised.value


def test_a_signed_bundle_loads_and_says_who_signed_it(bundle, signer):
    loaded = load_bundle(bundle, trusted=signer.trusted)
    assert loaded.signed_by == hashlib.sha256(signer.public.read_bytes()).hexdigest()
    assert load_bundle(bundle).signed_by is None  # nobody asked, so nobody looked


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_each_curve_of_the_format_works(bundle, tmp_path, curve):
    key = SigningKey.make(tmp_path, curve=curve)
    key.sign(bundle)
    assert load_bundle(bundle, trusted=key.trusted).signed_by == key_id(key.key.public_key())


def test_another_key_is_refused_and_the_trusted_one_named(bundle, tmp_path, signer):
    other = SigningKey.make(tmp_path, "other")
    error = refused(bundle, other.trusted)
    assert error.file == "model.sig"
    assert key_id(other.key.public_key())[:12] in error.reason
    other.sign(bundle)
    refused(bundle, signer.trusted)


def test_no_signature_is_refused_and_says_what_to_do(bundle, signer):
    (bundle / "model.sig").unlink()
    error = refused(bundle, signer.trusted)
    assert (error.file, "liveness models sign" in error.reason) == ("model.sig", True)


def resave(path, **changes):
    """What somebody does who may write to the folder, and has no key: a new manifest with right hashes."""
    manifest = Manifest.model_validate_json((path / "bundle.json").read_text())
    contents = {name: (path / name).read_bytes() for name in manifest.files}
    signature = (path / "model.sig").read_bytes()
    save_bundle(path, manifest.model_copy(update=changes), contents)
    (path / "model.sig").write_bytes(signature)


def test_a_manifest_that_was_written_anew_is_refused(bundle, signer):
    resave(bundle, version="2")
    assert load_bundle(bundle).manifest.version == "2"  # its hashes are right
    assert refused(bundle, signer.trusted).file == "bundle.json"


def test_one_blank_more_in_the_manifest_is_refused(bundle, signer):
    with (bundle / "bundle.json").open("a") as manifest:
        manifest.write(" ")
    assert load_bundle(bundle).manifest.version == "1"
    assert refused(bundle, signer.trusted).file == "bundle.json"


@pytest.mark.parametrize("name", ["encoder.onnx", "classifier.onnx", "golden.npz"])
def test_a_changed_file_is_refused(bundle, signer, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    assert refused(bundle, signer.trusted, BundleError).file == name


def test_the_signature_of_another_bundle_is_refused(bundle, tmp_path, signer):
    make_tiny_bundle(tmp_path / "other", bias=-5)
    signer.sign(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.sig", bundle / "model.sig")
    assert refused(bundle, signer.trusted).file == "bundle.json"


def changed_signature(path, change):
    content = json.loads((path / "model.sig").read_text())
    change(content)
    (path / "model.sig").write_text(json.dumps(content))


def with_payload(content, old, new):
    payload = base64.b64decode(content["dsseEnvelope"]["payload"]).replace(old, new)
    content["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: with_payload(content, b"encoder.onnx", b"encoder_onnx"),
        lambda content: content["dsseEnvelope"].update(payloadType="text/plain"),
        lambda content: content["dsseEnvelope"].update(signatures=[]),
        lambda content: content["dsseEnvelope"]["signatures"].append({"sig": "AAAA"}),
        lambda content: content["dsseEnvelope"]["signatures"][0].update(sig=""),
        lambda content: content["dsseEnvelope"]["signatures"][0].update(sig="not base64"),
        lambda content: content.pop("dsseEnvelope"),
        lambda content: content.update(mediaType="application/json"),
    ],
)
def test_a_changed_signature_is_refused(bundle, signer, change):
    changed_signature(bundle, change)
    assert refused(bundle, signer.trusted).file == "model.sig"


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[" * 100_000, bytes(1000), b" " * ((1 << 20) + 1)])
def test_a_file_that_is_no_signature_is_refused(bundle, signer, content):
    (bundle / "model.sig").write_bytes(content)
    assert refused(bundle, signer.trusted).file == "model.sig"


def test_a_signature_may_be_as_long_as_its_limit(bundle, signer):
    whole = (bundle / "model.sig").read_bytes()
    (bundle / "model.sig").write_bytes(whole + b" " * ((1 << 20) - len(whole)))
    assert load_bundle(bundle, trusted=signer.trusted).signed_by is not None


def test_a_signed_statement_about_something_else_is_refused(bundle, signer):
    """The key may have signed other things, e.g. the provenance of a container image."""
    payload = b'{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1"}'
    sealed = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)

    def change(content):
        with_payload(content, base64.b64decode(content["dsseEnvelope"]["payload"]), payload)
        signature = signer.key.sign(sealed, ec.ECDSA(hashes.SHA256()))
        content["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()

    changed_signature(bundle, change)
    error = refused(bundle, signer.trusted)
    assert "does not sign the files of a model" in error.reason


class WhoeverWritesMeanwhile:
    """Puts other content into the folder in the instant after the signature was accepted."""

    def __init__(self, trusted, bundle, other):
        self.trusted, self.bundle, self.other = trusted, bundle, other

    def verify(self, signature, manifest):
        signer = self.trusted.verify(signature, manifest)
        for name in self.other:
            (self.bundle / name).write_bytes(self.other[name])
        return signer


def test_what_was_verified_is_what_is_used(bundle, tmp_path, signer):
    make_tiny_bundle(tmp_path / "evil", bias=50, version="evil")
    evil = {"bundle.json": (tmp_path / "evil" / "bundle.json").read_bytes(), "model.sig": b""}
    loaded = load_bundle(bundle, trusted=WhoeverWritesMeanwhile(signer.trusted, bundle, evil))
    assert loaded.manifest.version == "1"


@pytest.mark.parametrize("name", ["encoder.onnx", "classifier.onnx", "golden.npz"])
def test_a_file_that_is_replaced_after_the_signature_was_checked_is_refused(bundle, signer, name):
    writer = WhoeverWritesMeanwhile(signer.trusted, bundle, {name: b"other"})
    assert refused(bundle, writer, BundleError).file == name


def test_only_a_whole_bundle_is_signed(bundle, tmp_path, signer):
    (bundle / "model.sig").unlink()
    (bundle / "golden.npz").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"golden\.npz"):
        sign_bundle(bundle, signer.key)
    assert not (bundle / "model.sig").exists()


def test_a_new_export_into_the_folder_is_not_signed_any_more(bundle, signer):
    make_tiny_bundle(bundle, bias=1)
    refused(bundle, signer.trusted)


def test_a_signature_of_the_tool_that_defined_the_format_is_accepted():
    trusted = TrustedKeys([serialization.load_pem_public_key(RECORDED_KEY.encode())])
    assert trusted.verify(RECORDED.encode(), b"{}\n") == hashlib.sha256(RECORDED_KEY.encode()).hexdigest()
    with pytest.raises(SignatureError):
        trusted.verify(RECORDED.encode(), b"{ }\n")


def shape_of(value):
    match value:
        case dict():
            return {name: shape_of(each) for name, each in value.items()}
        case list():
            return [shape_of(value[0])] if value else []
    return type(value)


def test_ours_has_the_form_of_that_tools(bundle, signer, tmp_path):
    """So that `model_signing verify key` takes it. The signature itself is checked by openssl."""
    ours, theirs = json.loads((bundle / "model.sig").read_text()), json.loads(RECORDED)
    assert shape_of(ours) == shape_of(theirs)
    statements = [json.loads(base64.b64decode(each["dsseEnvelope"]["payload"])) for each in (ours, theirs)]
    assert shape_of(statements[0]) == shape_of(statements[1])
    assert ours["mediaType"] == theirs["mediaType"]
    for statement in statements:
        resources = statement["predicate"]["resources"]
        whole = hashlib.sha256(b"".join(bytes.fromhex(each["digest"]) for each in resources)).hexdigest()
        assert statement["subject"][0]["digest"]["sha256"] == whole
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in bundle.iterdir()}
    del files["model.sig"]
    assert {each["name"]: each["digest"] for each in statements[0]["predicate"]["resources"]} == files
    payload = base64.b64decode(ours["dsseEnvelope"]["payload"])
    (tmp_path / "signed").write_bytes(b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload))
    (tmp_path / "sig").write_bytes(base64.b64decode(ours["dsseEnvelope"]["signatures"][0]["sig"]))
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    command = ["openssl", "dgst", "-sha256", "-verify", signer.public, "-signature", tmp_path / "sig"]
    done = subprocess.run([*command, tmp_path / "signed"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "Verified OK\n", done.stderr


def test_one_of_several_keys_is_enough_and_a_key_can_be_withdrawn(bundle, tmp_path, signer):
    folder = SigningKey.make(tmp_path, "new").public.parent
    shutil.copy(signer.public, folder / "old.pub")
    assert load_bundle(bundle, trusted=TrustedKeys.read(folder)).signed_by is not None
    together = tmp_path / "keys.pem"
    together.write_bytes(b"".join(file.read_bytes() for file in sorted(folder.iterdir())))
    assert load_bundle(bundle, trusted=TrustedKeys.read(together)).signed_by is not None
    (folder / "old.pub").unlink()
    refused(bundle, TrustedKeys.read(folder))


def test_keys_that_cannot_be_used_are_refused_and_not_shown(tmp_path, signer):
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    pem = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    koblitz = ec.generate_private_key(ec.SECP256K1()).public_key()
    cases = {
        "private": (signer.private.read_bytes(), "holds a private key"),
        "rsa": (rsa_key.public_bytes(*pem), "P-256"),
        "koblitz": (koblitz.public_bytes(*pem), "P-256"),
        "text": (b"not a key", "no public key"),
        "damaged": (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a public key"),
    }
    for name, (content, said) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(KeyFileError, match=said) as raised:
            TrustedKeys.read(tmp_path / name)
        assert name in str(raised.value)
        assert "AAAA" not in str(raised.value)
    (tmp_path / "empty").mkdir()
    for path, said in ((tmp_path / "empty", "no file in it"), (tmp_path / "nowhere", "No such file")):
        with pytest.raises(KeyFileError, match=said):
            TrustedKeys.read(path)


def test_a_private_key_needs_its_passphrase_and_is_of_a_known_curve(tmp_path):
    path = SigningKey.make(tmp_path, passphrase="correct").private
    assert read_private_key(path, "correct").curve.name == "secp256r1"
    for passphrase in (None, "wrong"):
        with pytest.raises(KeyFileError, match=r"signer\.key"):
            read_private_key(path, passphrase)
    with pytest.raises(KeyFileError, match="P-256"):
        read_private_key(SigningKey.make(tmp_path, curve=ec.SECP256K1()).private)
    with pytest.raises(KeyFileError, match="No such file"):
        read_private_key(tmp_path / "nowhere")
    with pytest.raises(KeyFileError, match="not a private key"):
        read_private_key(SigningKey.make(tmp_path).public)
