"""Reading a bundle. Its files, the tensors of its networks and its golden scores are verified before it can be used."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

import liveness_core
from liveness_core.bundle.errors import BundleError, BundleFolderError
from liveness_core.bundle.golden import self_test
from liveness_core.bundle.manifest import SCHEMA_VERSION, Manifest, NetworkFile, Variant
from liveness_core.runtime import NetworkError, OrtSession, RuntimeOptions, TensorSpec
from liveness_core.scoring import ClipScorer, Scorer

MANIFEST_FILE = "bundle.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle, ready to score."""

    path: Path
    manifest: Manifest
    variant: Variant
    scorer: Scorer
    clip_scorer: ClipScorer | None = None
    """None if the bundle has no temporal head: it then scores photos only."""
    golden: bytes = field(default=b"", repr=False)
    """The content of the file of golden cases, by which the bundle can be verified again while it runs."""


def default_bundle_path() -> Path:
    """Folder of the default bundle: inside an installed wheel, or in the checkout of an editable install.

    It may be missing; loading the bundle then says so.
    """
    package = Path(liveness_core.__file__).parent
    packaged = package / "default_bundle"
    return packaged if packaged.is_dir() else package.parents[1] / "models" / "default"


def load_bundle(path: Path, *, precision: str | None = None, runtime: RuntimeOptions | None = None) -> Bundle:
    """Read and verify a bundle.

    Args:
        path: folder of the bundle.
        precision: the variant to run; None takes the first one of the manifest.
        runtime: provider and threads.

    Raises:
        BundleFolderError: there is no such folder.
        BundleError: a file is missing or changed, a tensor has another shape, or a golden case another score.
        ProviderError: the provider that was asked for does not work.
    """
    manifest = read_manifest(path)
    contents = {name: _read(path, name, digest) for name, digest in manifest.files.items()}
    variant = manifest.variant(precision)
    if variant is None:
        precisions = ", ".join(variant.precision for variant in manifest.variants)
        raise BundleError(MANIFEST_FILE, f"there is no {precision} variant: choose one of {precisions}")
    size = manifest.preprocess.size
    encoder = _open(variant.encoder, contents, runtime, _encoder_contract(size))
    depth = next(output.shape[1] for output in encoder.outputs if output.name == "embedding")
    classifier = _open(manifest.classifier, contents, runtime, _classifier_contract(depth))
    scorer = Scorer(encoder, classifier, manifest.preprocess, manifest.temperature)
    clip_scorer = None
    if (head := manifest.temporal) is not None:
        temporal = _open(head.network, contents, runtime, _temporal_contract(head.clip.frames, depth))
        clip_scorer = ClipScorer(temporal, head.clip, head.temperature)
    bundle = Bundle(path, manifest, variant, scorer, clip_scorer, contents[manifest.golden])
    verify_again(bundle)
    return bundle


def verify_again(bundle: Bundle) -> None:
    """Score the golden cases, to see that a loaded bundle still gives the scores that it was made with.

    Raises:
        BundleError: a golden case has another score, or none.
    """
    self_test(bundle.manifest, bundle.variant, bundle.golden, bundle.scorer, bundle.clip_scorer)


def read_manifest(path: Path) -> Manifest:
    """Read and check `bundle.json` alone, without the files that it names.

    Raises:
        BundleFolderError: there is no such folder.
        BundleError: the manifest is missing, not of this schema version, or changed since it was written.
    """
    if not path.is_dir():
        raise BundleFolderError(str(path), "there is no such folder")
    try:
        text = (path / MANIFEST_FILE).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BundleError(MANIFEST_FILE, f"missing in {path}: is this the folder of a bundle?") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(MANIFEST_FILE, f"cannot be read: {error}") from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(
            MANIFEST_FILE,
            f"not a manifest of schema version {SCHEMA_VERSION}: {where}: {first['msg']} "
            f"({error.error_count()} fault(s)); check that the bundle and this software belong together",
        ) from error
    if manifest.manifest_sha256 != manifest.digest():
        raise BundleError(MANIFEST_FILE, "its content does not match its own SHA-256: it was changed after export")
    return manifest


def _read(path: Path, name: str, digest: str) -> bytes:
    try:
        content = (path / name).read_bytes()
    except FileNotFoundError as error:
        raise BundleError(name, f"missing in {path}: copy the whole bundle again") from error
    except OSError as error:
        raise BundleError(name, f"cannot be read: {error}") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != digest:
        raise BundleError(
            name, f"SHA-256 is {actual[:12]}…, the manifest says {digest[:12]}…: copy the whole bundle again"
        )
    return content


def _encoder_contract(size: int) -> tuple[list[TensorSpec], list[TensorSpec]]:
    return (
        [TensorSpec(name="image", dtype="float32", shape=(None, 3, size, size))],
        [
            TensorSpec(name="embedding", dtype="float32", shape=(None, None)),
            TensorSpec(name="features", dtype="float32", shape=(None, None, None, None)),
        ],
    )


def _classifier_contract(depth: int | None) -> tuple[list[TensorSpec], list[TensorSpec]]:
    return (
        [TensorSpec(name="embedding", dtype="float32", shape=(None, depth))],
        [TensorSpec(name="logits", dtype="float32", shape=(None, 2))],
    )


def _temporal_contract(frames: int, depth: int | None) -> tuple[list[TensorSpec], list[TensorSpec]]:
    return (
        [TensorSpec(name="embeddings", dtype="float32", shape=(None, frames, depth))],
        [TensorSpec(name="logits", dtype="float32", shape=(None, 2))],
    )


def _open(
    network: NetworkFile,
    contents: dict[str, bytes],
    runtime: RuntimeOptions | None,
    contract: tuple[list[TensorSpec], list[TensorSpec]],
) -> OrtSession:
    """Load a network and check its tensors against the contract of all bundles and against the manifest."""
    try:
        session = OrtSession(contents[network.file], runtime)
    except NetworkError as error:
        raise BundleError(network.file, str(error)) from error
    for kind, actual, required, declared in (
        ("input", session.inputs, contract[0], network.inputs),
        ("output", session.outputs, contract[1], network.outputs),
    ):
        held = {spec.name: spec for spec in actual}
        for spec in (*required, *declared):
            found = held.get(spec.name)
            if found is None:
                names = ", ".join(held) or "nothing"
                raise BundleError(network.file, f"no {kind} is named {spec.name!r}, only {names}: export it again")
            if found.dtype != spec.dtype or not _fits(found.shape, spec.shape):
                raise BundleError(
                    network.file,
                    f"{kind} {spec.name!r} is {found.dtype} {_shown(found.shape)}, "
                    f"expected {spec.dtype} {_shown(spec.shape)}: export it again",
                )
    return session


def _fits(actual: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether the ranks agree, and the sizes wherever one is expected. The first dimension, the batch, must be free."""
    return (
        len(actual) == len(expected)
        and actual[0] is None
        and all(want is None or have == want for have, want in zip(actual, expected, strict=True))
    )


def _shown(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("N" if size is None else str(size) for size in shape) + ")"
