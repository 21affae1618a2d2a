"""Signatures of bundles in the format of OpenSSF Model Signing (sigstore's `model-signing`), with keys kept offline.

`model_signing verify key` accepts what is signed here, and this module accepts what `model_signing sign key` signs. The
file is a sigstore bundle: a DSSE envelope around an in-toto statement with the SHA-256 of every file. It holds no key
and needs no network. Loading a bundle without asking for a signature imports neither this module nor `cryptography`.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Base64Bytes, BaseModel, Field, ValidationError

from liveness_core.bundle.errors import SIGNATURE_FILE, BundleError, SignatureError
from liveness_core.bundle.load import MANIFEST_FILE, check_files, parse_manifest, read_file
from liveness_core.bundle.save import write_whole

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
# The curves of the format, each with the hash that it prescribes.
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_KEY_FILES = ("*.pem", "*.pub")
_END = b"-----END PUBLIC KEY-----"


class _One(BaseModel):
    sig: Base64Bytes


class _Envelope(BaseModel):
    payload: Base64Bytes
    payload_type: Literal["application/vnd.in-toto+json"] = Field(alias="payloadType")
    signatures: tuple[_One]


class _SignatureFile(BaseModel):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = Field(alias="mediaType")
    envelope: _Envelope = Field(alias="dsseEnvelope")


class _Resource(BaseModel):
    name: str
    algorithm: str
    digest: str


class _Predicate(BaseModel):
    resources: tuple[_Resource, ...]


class _Statement(BaseModel):
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    predicate_type: Literal["https://model_signing/signature/v1.0"] = Field(alias="predicateType")
    predicate: _Predicate


class KeyFileError(Exception):
    """A file of keys cannot be used. The message says which and why, and shows nothing of a key."""


class TrustedKeys:
    """The public keys whose signatures are accepted; a signature by one of them is enough."""

    def __init__(self, keys: Sequence[ec.EllipticCurvePublicKey]) -> None:
        """Accept signatures by these keys.

        Raises:
            KeyFileError: there is no key, or one that the format does not know.
        """
        if not keys:
            raise KeyFileError("no public key: expected PEM with BEGIN PUBLIC KEY")
        self._keys = {key_id(key): key for key in keys}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a PEM file with one or more public keys, or all `*.pem` and `*.pub` files of a folder.

        Raises:
            KeyFileError: nothing is there, or a file does not hold public keys of the curves P-256, P-384 or P-521.
        """
        files = sorted({file for kind in _KEY_FILES for file in path.glob(kind)}) if path.is_dir() else [path]
        if not files:
            raise KeyFileError(f"{path}: no file in it is called {' or '.join(_KEY_FILES)}")
        return cls([key for file in files for key in _public_keys(file)])

    def verify(self, signature: bytes, manifest: bytes) -> str:
        """Check that one of the keys has signed a bundle with this manifest, which holds the hashes of all other files.

        Nothing but the signature itself is parsed before it is verified.

        Args:
            signature: content of `model.sig`.
            manifest: content of `bundle.json`, the very bytes that are going to be used.

        Returns:
            Which key it was (see `key_id`).

        Raises:
            SignatureError: none of them has, or it is about another manifest.
        """
        try:
            envelope = _SignatureFile.model_validate_json(signature).envelope
        except ValidationError as error:
            raise SignatureError(
                SIGNATURE_FILE, "not a signature by `liveness models sign` or `model_signing sign key`: sign it again"
            ) from error
        signer = self._signer(envelope)
        try:
            resources = _Statement.model_validate_json(envelope.payload).predicate.resources
        except ValidationError as error:
            raise SignatureError(SIGNATURE_FILE, "does not sign the files of a model: sign the bundle again") from error
        signed = [each.digest for each in resources if (each.name, each.algorithm) == (MANIFEST_FILE, "sha256")]
        if signed != [hashlib.sha256(manifest).hexdigest()]:
            raise SignatureError(
                MANIFEST_FILE,
                f"is not the one that {SIGNATURE_FILE} signs: copy bundle and signature together, or sign again",
            )
        return signer

    def _signer(self, envelope: _Envelope) -> str:
        signed = _pre_authentication_encoding(envelope.payload)
        for name, key in self._keys.items():
            try:
                key.verify(envelope.signatures[0].sig, signed, ec.ECDSA(_HASHES[key.curve.name]))
            except InvalidSignature:
                continue
            return name
        known = ", ".join(name[:12] for name in self._keys)
        raise SignatureError(
            SIGNATURE_FILE, f"none of the trusted keys ({known}) made it, or it was changed: sign the bundle with one"
        )


def read_private_key(path: Path, passphrase: str | None = None) -> ec.EllipticCurvePrivateKey:
    """Read the PEM file of a private key.

    Raises:
        KeyFileError: it cannot be read, needs a passphrase or another one, or has another kind of key.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), passphrase.encode() if passphrase else None)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    except TypeError as error:  # given and not needed, or needed and not given
        raise KeyFileError(f"{path}: {error}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: not a private key in PEM, or not its passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
        raise KeyFileError(f"{path}: not a key of the curves P-256, P-384 or P-521")
    return key


def sign_bundle(path: Path, key: ec.EllipticCurvePrivateKey) -> str:
    """Sign the bundle in this folder, after its files were compared with its manifest; writes `model.sig` into it.

    Returns:
        Which key it was (see `key_id`).

    Raises:
        BundleError: the bundle is not whole, or the folder cannot be written to.
    """
    content = read_file(path, MANIFEST_FILE)
    manifest = parse_manifest(content)
    if SIGNATURE_FILE in manifest.files:
        raise BundleError(MANIFEST_FILE, f"lists {SIGNATURE_FILE}, which is the name of the signature: export it again")
    check_files(path, manifest)
    digests = manifest.files | {MANIFEST_FILE: hashlib.sha256(content).hexdigest()}
    payload = json.dumps(_statement(path.absolute().name, digests), indent=2).encode()
    signature = key.sign(_pre_authentication_encoding(payload), ec.ECDSA(_HASHES[key.curve.name]))
    name = key_id(key.public_key())
    try:
        write_whole(path / SIGNATURE_FILE, _signature_file(payload, signature, name))
    except OSError as error:
        raise BundleError(SIGNATURE_FILE, f"cannot be written: {error.strerror}; sign a copy of the bundle") from error
    return name


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the public key's PEM file as `openssl pkey -pubout` writes it, hexadecimal; the format's hint."""
    return hashlib.sha256(
        key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def _public_keys(file: Path) -> list[ec.EllipticCurvePublicKey]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{file}: {error.strerror}") from error
    if b"PRIVATE KEY-----" in content:
        raise KeyFileError(f"{file}: holds a private key; keep that offline, and put only the public one here")
    keys = []
    for block in content.split(_END)[:-1]:
        try:
            key = serialization.load_pem_public_key(block + _END + b"\n")
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{file}: not a public key in PEM") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
            raise KeyFileError(f"{file}: not a key of the curves P-256, P-384 or P-521")
        keys.append(key)
    if not keys:
        raise KeyFileError(f"{file}: no public key in it, expected PEM with BEGIN PUBLIC KEY")
    return keys


def _pre_authentication_encoding(payload: bytes) -> bytes:
    """What is signed: DSSE's PAE, with lengths and type, so that no payload can pass for one of another type."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _statement(name: str, digests: dict[str, str]) -> dict[str, object]:
    resources = [{"name": file, "algorithm": "sha256", "digest": digests[file]} for file in sorted(digests)]
    whole = hashlib.sha256(b"".join(bytes.fromhex(each["digest"]) for each in resources)).hexdigest()
    return {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": whole}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE_FILE],
            },
            "resources": resources,
        },
    }


def _signature_file(payload: bytes, signature: bytes, hint: str) -> bytes:
    content = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": _text(payload),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": _text(signature), "keyid": ""}],
        },
    }
    return json.dumps(content).encode() + b"\n"


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
