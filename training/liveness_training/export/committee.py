"""A committee becomes a bundle: several networks as one encoder, each with its own view, and their sum."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from liveness_core.bundle import Manifest, Provenance, TemporalHead, Variant, load_bundle, save_bundle
from liveness_core.bundle.manifest import Precision
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.scoring import ClipScorer
from liveness_training.export.bundle import CLASSIFIER, GOLDEN, GOLDEN_TOLERANCE, UNHASHED, encoder_name, network_sizes
from liveness_training.export.committee_spec import CommitteeSpec, SpecError
from liveness_training.export.golden import golden_cases
from liveness_training.export.members import Member, read_member
from liveness_training.export.model_card import model_card
from liveness_training.export.networks import network_file
from liveness_training.export.quantising import Built, build
from liveness_training.export.temporal import TEMPORAL
from liveness_training.runs.environment import git_commit, libraries

_CPU = RuntimeOptions("cpu")


def export_committee(spec: CommitteeSpec, folder: Path) -> Manifest:
    """Write the bundle of a committee, then load it as the service does.

    Args:
        spec: the members and how they are combined.
        folder: folder of the bundle, which gets its name; an existing one is replaced as a whole.

    Raises:
        SpecError: a file is missing, or a member does not fit its description.
        DataError: there are no pictures to measure with.
        ExportError: the golden cases say nothing.
        BundleError: the temporal head does not fit the encoder.
    """
    head = _head(spec)
    members = [read_member(member) for member in spec.members]
    licences = _licences(spec)
    built = build(spec, members)
    first = built[spec.precisions[0]].merged
    golden = golden_cases(
        first.views,
        {precision: each.scorer for precision, each in built.items()},
        {} if head is None else dict.fromkeys(built, head[1]),
    )
    files = {
        **{encoder_name(precision): each.merged.encoder for precision, each in built.items()},
        CLASSIFIER: first.classifier,
        **({} if spec.temporal is None else {TEMPORAL: Path(spec.temporal.network).read_bytes()}),
        GOLDEN: golden.to_bytes(),
        **licences,
    }
    manifest = Manifest(
        schema_version=2,
        name=folder.resolve().name,
        version=spec.version,
        preprocess=first.views,
        detector=spec.detector,
        quality_gates=spec.quality_gates,
        variants=tuple(_variant(precision, each) for precision, each in built.items()),
        classifier=network_file(CLASSIFIER, first.classifier),
        temperature=spec.temperature,
        operating_points=spec.operating_points,
        default_operating_point=spec.default_operating_point,
        temporal=None if head is None else head[0],
        reference_scores=spec.reference_scores,
        reference_attacks=spec.reference_attacks,
        files=dict.fromkeys(files, UNHASHED),
        provenance=_provenance(spec, built),
        metrics=spec.metrics,
    )
    shown = members_section(members, built)
    files["MODEL_CARD.md"] = model_card(manifest, network_sizes(files), spec.card, members=shown).encode()
    saved = save_bundle(folder, manifest, files)
    for precision in spec.precisions:
        load_bundle(folder, precision=precision, runtime=_CPU)
    return saved


def members_section(members: Sequence[Member], built: Mapping[Precision, Built]) -> str:
    """The part of the model card that names the members."""
    int8 = built.get("int8")
    lines = [
        "| member | what it is | crop | calibration | weight | int8 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for member in members:
        spec, view = member.spec, member.view
        line = f"{spec.calibration.slope:g} x {spec.calibration.offset:+g}"
        if spec.grey is not None:
            line += f", grey {spec.grey.slope:g} x {spec.grey.offset:+g}"
        if spec.limit is not None:
            line += f", at most {spec.limit:g}"
        crop = f"`{view.rule}`, {view.margin:g} times, {view.size} px"
        precision = "as it was" if member.is_fixed else _precision(spec.name, int8)
        lines.append(f"| {spec.name} | {spec.source} | {crop} | {line} | {spec.weight:g} | {precision} |")
    return (
        "Each member sees the face in a crop of its own and gives log-odds of live. They are calibrated as shown and "
        "added with these weights. `NOTICE` has their licences.\n\n" + "\n".join(lines)
    )


def _precision(name: str, int8: Built | None) -> str:
    """Whether a member is in int8 in that variant, and its drift."""
    if int8 is None or name not in int8.drifts:
        return "no"
    return f"{'yes' if name in int8.in_int8 else 'no'}, drift {int8.drifts[name]:.4f}"


def _licences(spec: CommitteeSpec) -> dict[str, bytes]:
    """NOTICE, and the licences that it names."""
    files: dict[str, bytes] = {}
    lines = [
        "This model is made of these networks. Their weights are those that were published, rounded to the precision "
        "of each file, unless it says otherwise.",
        "",
    ]
    for member in spec.members:
        line = f"{member.name}: {member.source}"
        if member.licence is not None:
            path = Path(member.licence)
            try:
                content = path.read_bytes()
            except OSError as error:
                raise SpecError(f"{member.name}: {error}") from error
            name = path.name if path.name.upper().startswith("LICEN") else f"LICENSE.{path.name}"
            if files.setdefault(name, content) != content:
                name = f"LICENSE.{member.name}"
                files[name] = content
            line += f" (licence: {name})"
        lines.append(line)
    return {"NOTICE": ("\n".join(lines) + "\n").encode(), **files}


def _head(spec: CommitteeSpec) -> tuple[TemporalHead, ClipScorer] | None:
    """The temporal head's entry in the manifest, and its scorer."""
    if spec.temporal is None:
        return None
    try:
        content = Path(spec.temporal.network).read_bytes()
    except OSError as error:
        raise SpecError(f"temporal: {error}") from error
    entry = TemporalHead(
        network=network_file(TEMPORAL, content),
        clip=spec.temporal.clip,
        temperature=spec.temporal.temperature,
        operating_points=spec.temporal.operating_points,
    )
    return entry, ClipScorer(OrtSession(content, _CPU), entry.clip, entry.temperature)


def _variant(precision: Precision, built: Built) -> Variant:
    return Variant(
        precision=precision,
        encoder=network_file(encoder_name(precision), built.merged.encoder),
        parity=built.parity,
        golden_tolerance=GOLDEN_TOLERANCE[precision],
    )


def _provenance(spec: CommitteeSpec, built: Mapping[Precision, Built]) -> Provenance:
    paths = {"network", "run", "bundle", "licence"}
    members: list[JsonValue] = []
    for member in spec.members:
        entry: dict[str, JsonValue] = member.model_dump(mode="json", exclude=paths)
        entry["file"] = Path(member.network or member.run or member.bundle or "").name
        for each in built.values():
            if member.name in each.drifts:
                entry["int8_drift"] = each.drifts[member.name]
                entry["in_int8"] = member.name in each.in_int8
        members.append(entry)
    return Provenance(
        created_at=datetime.now(UTC),
        git_commit=git_commit(),
        seed=spec.seed,
        command=" ".join(["liveness-train", *sys.argv[1:]]),
        config={**spec.config, "members": members, "offset": spec.offset},
        libraries=libraries(),
        data=spec.data,
    )
