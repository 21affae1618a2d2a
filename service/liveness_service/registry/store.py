"""The store of bundles: a folder with one folder for each bundle, or an object store that fsspec can read."""

import hashlib
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from liveness_core.bundle import SIGNATURE_FILE, BundleError, Manifest
from liveness_core.bundle.load import MANIFEST_FILE, read_manifest

_REFERENCE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})(?:@([0-9a-f]{8,64}))?")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Available:
    """A bundle of the store, as its manifest describes it; the other files are not read."""

    name: str
    """Name of the bundle's folder, by which it is asked for."""
    manifest: Manifest | None
    """None where the manifest cannot be read; `fault` then says why."""
    fault: str | None
    """Why the bundle cannot be used, as far as the manifest tells; None where no fault is known."""


class BundleStore:
    """Finds bundles by reference: the name of the bundle's folder.

    The beginning of the manifest's SHA-256 may follow, as in `name@0123abcd…`. Then only that content is accepted, even
    if somebody else can write to the store.
    """

    def __init__(self, url: str, cache: Path) -> None:
        """Remember the store; nothing is read yet.

        Args:
            url: a folder, or an address that fsspec knows: `s3://bucket/prefix`, `oci://bucket@namespace/prefix`.
            cache: folder for copies of bundles that are not local.
        """
        self._url = url
        self._folder = None if "://" in url else Path(url)
        self._cache = cache

    def available(self) -> list[Available]:
        """All bundles of the store, sorted by name.

        Raises:
            BundleError: the store cannot be read.
        """
        return [self._described(name) for name in sorted(self._names())]

    def fetch(self, reference: str) -> Path:
        """A local folder with this bundle. A remote one is copied, and each file is checked against the manifest.

        Raises:
            BundleError: the bundle is missing, or does not match its manifest or the digest in the reference.
        """
        name, digest = _split(reference)
        if self._folder is not None:
            _check_digest(reference, digest, self._local_manifest(name))
            return self._folder / name
        self._cache.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".fetch-", dir=self._cache))
        try:
            manifest = self._copy_manifest(name, staging)
            _check_digest(reference, digest, manifest)
            target = self._cache / f"{name}@{manifest.manifest_sha256[:16]}"
            if not target.is_dir():  # a copy that exists is verified again when it is loaded
                for file, expected in manifest.files.items():
                    self._copy(f"{name}/{file}", staging / file, expected)
                self._copy_signature(name, staging)
                staging.rename(target)
            else:  # it may have been signed since
                self._copy_signature(name, staging)
                if (staging / SIGNATURE_FILE).exists():
                    (staging / SIGNATURE_FILE).replace(target / SIGNATURE_FILE)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return target

    def manifest(self, reference: str) -> Manifest:
        """The manifest of this bundle; no other file is read.

        Raises:
            BundleError: as in `fetch`.
        """
        name, digest = _split(reference)
        if self._folder is not None:
            manifest = self._local_manifest(name)
        else:
            with tempfile.TemporaryDirectory(prefix="liveness-") as folder:
                manifest = self._copy_manifest(name, Path(folder))
        _check_digest(reference, digest, manifest)
        return manifest

    def _local_manifest(self, name: str) -> Manifest:
        path = Path(self._url) / name
        if not path.is_dir():
            raise BundleError(name, f"there is no bundle of this name in {self._url}: see `liveness models list`")
        return read_manifest(path)

    def check(self, reference: str, manifest: Manifest) -> None:
        """Refuse a loaded bundle that does not match the digest in its reference: a folder may change after `fetch`.

        Raises:
            BundleError: the bundle does not match.
        """
        _check_digest(reference, _split(reference)[1], manifest)

    def _described(self, name: str) -> Available:
        try:
            return Available(name, self.manifest(name), None)
        except BundleError as error:
            return Available(name, None, f"{error.file}: {error.reason}")

    def _names(self) -> list[str]:
        if self._folder is not None:
            try:
                found = [path.name for path in self._folder.iterdir() if path.is_dir()]
            except OSError as error:
                raise BundleError(self._url, f"cannot be listed: {error}; check LIVENESS_MODELS_URL") from error
        else:
            files, root = self._remote()
            try:
                files.invalidate_cache()
                entries = files.ls(root, detail=True)
            except Exception as error:  # each kind of store raises types of its own
                raise BundleError(self._url, f"cannot be listed: {error}; check LIVENESS_MODELS_URL") from error
            found = [str(entry["name"]).rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] != "file"]
        return [name for name in found if _REFERENCE.fullmatch(name)]

    def _remote(self) -> tuple[Any, str]:
        try:
            files, root = fsspec.core.url_to_fs(self._url)
        except (ImportError, ValueError) as error:
            raise BundleError(
                self._url, f"no such store: {error}; S3 needs the extra s3, Oracle's object storage the extra oci"
            ) from error
        return files, str(root).rstrip("/")

    def _copy_manifest(self, name: str, folder: Path) -> Manifest:
        self._copy(f"{name}/{MANIFEST_FILE}", folder / MANIFEST_FILE, None)
        return read_manifest(folder)

    def _copy_signature(self, name: str, folder: Path) -> None:
        """Copy the signature if there is one. Whether there must be one, and its worth, is decided at loading."""
        files, root = self._remote()
        try:
            there = files.exists(f"{root}/{name}/{SIGNATURE_FILE}")
        except Exception as error:  # each kind of store raises types of its own
            raise BundleError(SIGNATURE_FILE, f"cannot be fetched from {self._url}: {error}") from error
        if there:
            self._copy(f"{name}/{SIGNATURE_FILE}", folder / SIGNATURE_FILE, None)

    def _copy(self, source: str, target: Path, expected: str | None) -> None:
        files, root = self._remote()
        digest = hashlib.sha256()
        try:
            files.invalidate_cache()
            with files.open(f"{root}/{source}", "rb", cache_type="none") as reader, target.open("wb") as writer:
                while chunk := reader.read(_CHUNK):
                    digest.update(chunk)
                    writer.write(chunk)
        except FileNotFoundError as error:
            raise BundleError(source, f"missing in {self._url}: check the bundle's name") from error
        except Exception as error:  # each kind of store raises types of its own
            raise BundleError(source, f"cannot be fetched from {self._url}: {error}") from error
        if expected is not None and digest.hexdigest() != expected:
            raise BundleError(source, f"SHA-256 in {self._url} is not the manifest's: copy the whole bundle again")


def _split(reference: str) -> tuple[str, str]:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise BundleError(
            reference[:100],
            "not the name of a bundle: give the name of its folder; @ and its manifest's SHA-256 may follow",
        )
    return match[1], match[2] or ""


def _check_digest(reference: str, digest: str, manifest: Manifest) -> None:
    if not manifest.manifest_sha256.startswith(digest):
        raise BundleError(
            MANIFEST_FILE,
            f"its SHA-256 begins with {manifest.manifest_sha256[: len(digest)]}, but {reference!r} was asked for: "
            "the bundle in the store is not what was meant",
        )
