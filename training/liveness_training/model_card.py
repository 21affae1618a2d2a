"""The model card of a bundle, written from its manifest, so that it cannot say anything else than the figures."""

from collections.abc import Mapping

from liveness_core.bundle import Manifest

_COLUMNS = (
    ("auc", "AUC"),
    ("eer", "EER"),
    ("hter_realistic", "HTER (realistic)"),
    ("hter_idealised", "HTER (idealised)"),
    ("apcer", "APCER, worst species"),
    ("bpcer", "BPCER"),
    ("apnrr", "APNRR"),
    ("bpnrr", "BPNRR"),
)


def model_card(manifest: Manifest, sizes: Mapping[str, int]) -> str:
    """Markdown.

    Args:
        manifest: of the bundle.
        sizes: network file -> bytes.
    """
    provenance = manifest.provenance
    test = {name: values for name, values in manifest.metrics.items() if not name.startswith("held_out/")}
    held_out = {name: values for name, values in manifest.metrics.items() if name.startswith("held_out/")}
    sections = [
        f"# {manifest.name} {manifest.version}",
        "Tells a live face from a print or a screen held to the camera, from one photo. "
        "Passive: the person does nothing.",
        "## Limits of use",
        "- The terms of the data below bind what was learned from them: research terms allow evaluation and research, "
        "nothing else.\n"
        "- It says nothing of who a person is, and nothing of masks, make-up, deepfakes, or pictures that are injected "
        "behind the camera: it sees prints and screens only.\n"
        "- It must not be the only check before an irreversible decision about a person.\n"
        "- Its error on cameras and attacks that it has not seen is the one under “Unseen domains”, not the one under "
        "“Unseen people”.\n"
        "- It has not been measured by age, sex or skin tone: the data do not name them.",
        "## Trained on",
        "\n".join(f"- {entry}" for entry in provenance.data),
        f"Split by person. Faces by `{manifest.detector.name}`, crops of {manifest.preprocess.margin:g} times the "
        f"face. Code at commit `{provenance.git_commit}`, seed {provenance.seed}; settings and library versions are in "
        "`bundle.json`.",
        "## Unseen people of the same domains",
        f"Scored by the networks of this bundle ({manifest.variants[0].precision}), at the threshold of "
        f"`{manifest.default_operating_point}`. Percent.",
        _table(test),
        "## Unseen domains",
        (
            "The same recipe trained without the domain, then scored on all of it; thresholds from the domains that "
            "were trained on (realistic) or from the domain itself (idealised, as most published tables have it). "
            "Percent.\n\n" + _table(held_out)
            if held_out
            else "Not measured."
        ),
        "APCER is that of the worst PAI species (ISO/IEC 30107-3); APNRR and BPNRR are the attacks and the bona fide "
        "pictures in which no face was found. Quality gates are not part of these figures.",
        "## Operating points",
        "A face is live when its score is at or above the threshold. Chosen on "
        f"{manifest.operating_points[manifest.default_operating_point].chosen_on}.",
        _points(manifest),
        f"Temperature {manifest.temperature:.3f}. On other cameras expect other rates: choose thresholds on data of "
        "your own before relying on them.",
        "## Precisions",
        _variants(manifest, sizes),
        "## Replacing it",
        "Train on data of your own and export a bundle: `docs/training.md`.",
    ]
    return "\n\n".join(sections) + "\n"


def _table(rows: Mapping[str, Mapping[str, float]]) -> str:
    lines = [
        "| data | images | " + " | ".join(title for _, title in _COLUMNS) + " |",
        "| --- " * (len(_COLUMNS) + 2) + "|",
    ]
    for name, values in rows.items():
        cells = " | ".join(f"{100 * values[key]:.1f}" for key, _ in _COLUMNS)
        lines.append(f"| {name} | {values['images']:.0f} | {cells} |")
    return "\n".join(lines)


def _points(manifest: Manifest) -> str:
    lines = ["| name | threshold | APCER there | BPCER there |", "| --- | --- | --- | --- |"]
    for name, point in manifest.operating_points.items():
        default = " (default)" if name == manifest.default_operating_point else ""
        lines.append(f"| {name}{default} | {point.threshold:.4f} | {100 * point.apcer:.1f} | {100 * point.bpcer:.1f} |")
    return "\n".join(lines)


def _variants(manifest: Manifest, sizes: Mapping[str, int]) -> str:
    lines = [
        "| precision | MB | mean score drift | largest | AUC | AUC of fp32 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for variant in manifest.variants:
        megabytes = sizes[variant.encoder.file] / 1e6
        parity = variant.parity
        drift = (
            "reference | | |"
            if parity is None
            else f"{parity.mean_score_drift:.4f} | {parity.max_score_drift:.3f} | "
            f"{100 * parity.auc:.2f} | {100 * parity.auc_fp32:.2f} |"
        )
        lines.append(f"| {variant.precision} | {megabytes:.1f} | {drift}")
    return "\n".join(lines)
