"""Reading a bundle. Its files, the tensors of its networks and its golden scores are verified before it can be used."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

import liveness_core
from liveness_core.bundle.errors import SIGNATURE_FILE, BundleError, BundleFolderError, SignatureError
from liveness_core.bundle.golden import self_test
from liveness_core.bundle.manifest import SCHEMA_VERSIONS, Manifest, NetworkFile, Variant
from liveness_core.runtime import NetworkError, OrtSession, RuntimeOptions, TensorSpec
from liveness_core.scoring import ClipScorer, Scorer

MANIFEST_FILE = "bundle.json"
_LARGEST_SIGNATURE = 1 << 20


class SignatureCheck(Protocol):
    """Decides whether a bundle is signed by somebody who is trusted; `signature.TrustedKeys` is the implementation."""

    def verify(self, signature: bytes, manifest: bytes) -> str:
        """Who has signed this manifest; raises SignatureError if nobody who is trusted has."""
        ...


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
    signed_by: str | None = None
    """Which key signed it (see `signature.key_id`); None if no signature was asked for."""

    @property
    def providers(self) -> dict[str, str]:
        """What each network runs on, by the network's name."""
        head = {} if self.clip_scorer is None else {"temporal": self.clip_scorer.provider}
        return self.scorer.providers | head


def default_bundle_path() -> Path:
    """Folder of the default bundle: inside an installed wheel, or in the checkout of an editable install.

    It may be missing; loading the bundle then says so.
    """
    package = Path(liveness_core.__file__).parent
    packaged = package / "default_bundle"
    return packaged if packaged.is_dir() else package.parents[1] / "models" / "default"


def load_bundle(
    path: Path,
    *,
    precision: str | None = None,
    runtime: RuntimeOptions | None = None,
    trusted: SignatureCheck | None = None,
) -> Bundle:
    """Read and verify a bundle. Each file is read once, so what was verified is what is used, whoever writes meanwhile.

    Args:
        path: folder of the bundle.
        precision: the variant to run; None takes the first one of the manifest, and fp16 where a GPU is asked for.
        runtime: provider and threads.
        trusted: whose signature it must have; None asks for none.

    Raises:
        BundleFolderError: there is no such folder.
        SignatureError: it has no signature that `trusted` accepts.
        BundleError: a file is missing or changed, a tensor has another shape, or a golden case another score.
        ProviderError: the provider that was asked for does not work.
    """
    content = read_file(path, MANIFEST_FILE)
    signed_by = None if trusted is None else trusted.verify(_read_signature(path), content)
    manifest = parse_manifest(content)
    contents = check_files(path, manifest)
    if precision is None and runtime is not None and runtime.provider in ("cuda", "tensorrt"):
        precision = "fp16" if manifest.variant("fp16") is not None else None
    variant = manifest.variant(precision)
    if variant is None:
        precisions = ", ".join(variant.precision for variant in manifest.variants)
        raise BundleError(MANIFEST_FILE, f"there is no {precision} variant: choose one of {precisions}")
    half = replace(runtime or RuntimeOptions(), half=variant.precision == "fp16")
    encoder = _open(variant.encoder, contents, half, _encoder_contract(manifest))
    depth = next(output.shape[1] for output in encoder.outputs if output.name == "embedding")
    classifier = _open(manifest.classifier, contents, runtime, _classifier_contract(depth))
    scorer = Scorer(encoder, classifier, manifest.preprocess, manifest.temperature)
    clip_scorer = None
    if (head := manifest.temporal) is not None:
        temporal = _open(head.network, contents, runtime, _temporal_contract(head.clip.frames, depth))
        clip_scorer = ClipScorer(temporal, head.clip, head.temperature)
    bundle = Bundle(path, manifest, variant, scorer, clip_scorer, contents[manifest.golden], signed_by)
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
    return parse_manifest(read_file(path, MANIFEST_FILE))


def parse_manifest(content: bytes) -> Manifest:
    """Check the content of a `bundle.json`.

    Raises:
        BundleError: it is not of this schema version, or was changed since it was written.
    """
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(
            MANIFEST_FILE,
            f"not a manifest of schema version {' or '.join(map(str, SCHEMA_VERSIONS))}: {where}: {first['msg']} "
            f"({error.error_count()} fault(s)); check that the bundle and this software belong together",
        ) from error
    if manifest.manifest_sha256 != manifest.digest():
        raise BundleError(MANIFEST_FILE, "its content does not match its own SHA-256: it was changed after export")
    return manifest


def check_files(path: Path, manifest: Manifest) -> dict[str, bytes]:
    """The content of every file that the manifest names, by name.

    Raises:
        BundleError: one is missing or has another hash.
    """
    contents = {}
    for name, digest in manifest.files.items():
        contents[name] = read_file(path, name)
        actual = hashlib.sha256(contents[name]).hexdigest()
        if actual != digest:
            raise BundleError(
                name, f"SHA-256 is {actual[:12]}…, the manifest says {digest[:12]}…: copy the whole bundle again"
            )
    return contents


def read_file(path: Path, name: str) -> bytes:
    """The content of one file of the bundle in this folder.

    Raises:
        BundleFolderError: there is no such folder.
        BundleError: the file is missing or cannot be read.
    """
    if not path.is_dir():
        raise BundleFolderError(str(path), "there is no such folder")
    try:
        return (path / name).read_bytes()
    except FileNotFoundError as error:
        what = "is this the folder of a bundle?" if name == MANIFEST_FILE else "copy the whole bundle again"
        raise BundleError(name, f"missing in {path}: {what}") from error
    except OSError as error:
        raise BundleError(name, f"cannot be read: {error}") from error


def _read_signature(path: Path) -> bytes:
    try:
        with (path / SIGNATURE_FILE).open("rb") as file:
            content = file.read(_LARGEST_SIGNATURE + 1)
    except FileNotFoundError as error:
        raise SignatureError(
            SIGNATURE_FILE, f"missing in {path}: sign it with `liveness models sign`, or copy its signature with it"
        ) from error
    except OSError as error:
        raise SignatureError(SIGNATURE_FILE, f"cannot be read: {error}") from error
    if len(content) > _LARGEST_SIGNATURE:
        raise SignatureError(SIGNATURE_FILE, f"longer than {_LARGEST_SIGNATURE} bytes: sign the bundle again")
    return content


def _encoder_contract(manifest: Manifest) -> tuple[list[TensorSpec], list[TensorSpec]]:
    outputs = [TensorSpec(name="embedding", dtype="float32", shape=(None, None))]
    if manifest.schema_version == 1:
        outputs.append(TensorSpec(name="features", dtype="float32", shape=(None, None, None, None)))
    elif manifest.heatmap_view is not None:
        outputs.append(TensorSpec(name="activation", dtype="float32", shape=(None, None, None)))
    return (
        [TensorSpec(name=view.name, dtype="float32", shape=(None, 3, view.size, view.size)) for view in manifest.views],
        outputs,
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
