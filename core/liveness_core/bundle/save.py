"""Writing a bundle, either completely or not at all."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from liveness_core.bundle.load import MANIFEST_FILE
from liveness_core.bundle.manifest import Manifest


def save_bundle(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """Write a bundle to `path`, replacing one that is there.

    The files are first written and flushed to a folder beside it, which is then renamed. A reader sees the old bundle,
    for an instant none, or the new one, but never a mixture.

    Args:
        path: folder of the bundle.
        manifest: the manifest; its hashes are replaced by those of `files`.
        files: content of every file of the bundle except `bundle.json`, by name.

    Returns:
        The manifest as it was written.
    """
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    # Validated again, since `model_copy` would not check that every file that the manifest names is there.
    sealed = Manifest.model_validate({**manifest.model_dump(), "files": hashes}).sealed()
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-", dir=path.parent))
    try:
        staging.chmod(0o755)  # mkdtemp makes it private; a service under another user must read it
        for name, content in files.items():
            _write(staging / name, content)
        _write(staging / MANIFEST_FILE, (sealed.model_dump_json(indent=2) + "\n").encode())
        _swap(staging, path)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return sealed


def write_whole(path: Path, content: bytes) -> None:
    """Write one file, so that a reader sees the old content or all of the new one.

    Raises:
        OSError: it cannot be written.
    """
    handle, staging = tempfile.mkstemp(prefix=f".{path.name}.new-", dir=path.parent)
    os.close(handle)
    try:
        _write(Path(staging), content)
        Path(staging).chmod(0o644)
        Path(staging).replace(path)
    except BaseException:
        Path(staging).unlink(missing_ok=True)
        raise


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _swap(new: Path, path: Path) -> None:
    if not path.exists():
        new.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
    try:
        path.rename(old / path.name)
    except OSError:  # e.g. a mount point
        old.rmdir()
        raise
    try:
        new.rename(path)
    except OSError:
        (old / path.name).rename(path)
        old.rmdir()
        raise
    shutil.rmtree(old)
