"""Commands of `liveness-train` about bundles: `export`, `committee` and `embed`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from liveness_training.cli_options import Data, DataAgain, Run, Workers, crops_of_run, explained


class ExportedPrecision(StrEnum):
    """Precisions that `export` writes."""

    INT8 = "int8"
    FP16 = "fp16"
    FP32 = "fp32"


def export(
    run: Run,
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle, which gets its name.")],
    data: DataAgain = None,
    cache: Path | None = None,
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "1",
    precision: Annotated[
        list[ExportedPrecision] | None,
        typer.Option(help="Precision to export; may be repeated, the first is the default."),
    ] = None,
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Run of the same recipe that kept a domain out; may be repeated.")
    ] = None,
    licence: Annotated[
        list[str] | None, typer.Option(help="DOMAIN=TERMS under which its data may be used; may be repeated.")
    ] = None,
    failures: Annotated[
        Path | None, typer.Option(help="Markdown file for the model card that describes the model's failures.")
    ] = None,
    workers: Workers = 2,
) -> None:
    """Turn a run into a bundle that the service loads."""
    from liveness_training.evaluation.figures import as_table
    from liveness_training.export.bundle import export_bundle
    from liveness_training.runs.folder import RunFolder

    with explained():
        folder = RunFolder.read(run)
        crops = crops_of_run(folder, data, cache, workers)
        manifest = export_bundle(
            folder,
            crops,
            bundle,
            name=bundle.resolve().name,
            version=version,
            precisions=[chosen.value for chosen in precision or [ExportedPrecision.INT8]],
            held_out=[RunFolder.read(path) for path in held_out or []],
            licences=dict(entry.split("=", 1) for entry in licence or []),
            failures=failures.read_text(encoding="utf-8") if failures else "",
        )
    typer.echo(as_table(manifest.metrics))


def committee(
    spec: Annotated[Path, typer.Argument(help="YAML file that names the members and how they are combined.")],
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle, which gets its name.")],
) -> None:
    """Put several networks together to one bundle, each with its own crop of the face (docs/training.md)."""
    from liveness_training.export.committee import export_committee
    from liveness_training.export.committee_spec import read_spec

    with explained():
        manifest = export_committee(read_spec(spec), bundle)
    for variant in manifest.variants:
        parity = variant.parity
        drift = "" if parity is None else f", scores drift by {parity.mean_score_drift:.4f} on the average"
        typer.echo(f"{variant.precision}: {(bundle / variant.encoder.file).stat().st_size / 1e6:.1f} MB{drift}")


def embed(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="NPZ file to write.")],
    precision: Annotated[ExportedPrecision | None, typer.Option(help="By default the bundle's first.")] = None,
) -> None:
    """Write a bundle's embeddings of all faces of some data, to fit a calibration or a temporal head on."""
    from liveness_training.data.datasets import parse_source
    from liveness_training.export.embeddings import write_embeddings

    with explained():
        chosen = None if precision is None else precision.value
        count = write_embeddings(bundle, [parse_source(text) for text in data], out, precision=chosen)
    typer.echo(f"written: {out}, {count} faces")
