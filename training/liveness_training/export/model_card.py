"""The model card of a bundle, written from its manifest, so that it always agrees with the figures."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from liveness_core.bundle import Manifest, OperatingPoint, Provenance

_COLUMNS = (
    ("auc", "AUC"),
    ("eer", "EER"),
    ("hter_realistic", "HTER (realistic)"),
    ("hter_idealised", "HTER (idealised)"),
    ("apcer", "APCER, worst species"),
    ("bpcer", "BPCER"),
    ("acer", "ACER"),
    ("apnrr", "APNRR"),
    ("bpnrr", "BPNRR"),
)


def model_card(manifest: Manifest, sizes: Mapping[str, int], failures: str = "", *, members: str = "") -> str:
    """The model card in Markdown.

    Args:
        manifest: manifest of the bundle.
        sizes: network file -> size in bytes.
        failures: Markdown that describes the model's failures; empty for no such section.
        members: Markdown that names the networks of a committee; empty for a single network.
    """
    provenance = manifest.provenance
    test = {name: values for name, values in manifest.metrics.items() if not name.startswith("held_out/")}
    held_out = {name: values for name, values in manifest.metrics.items() if name.startswith("held_out/")}
    head = manifest.temporal
    seen = "one photo" if head is None else f"one photo or the {head.clip.frames} frames of a clip"
    sections = [
        f"# {manifest.name} {manifest.version}",
        f"Tells a live face from a print or a screen held to the camera, from {seen}. "
        "Passive: the person does nothing. A score is the probability of live and not a verdict: it is compared with "
        f"the threshold of an operating point, by default `{manifest.default_operating_point}`.",
        *_both_rates(test, held_out),
        "## Limits of use",
        "- The terms of the data below bind what was learned from them: research terms allow evaluation and research, "
        "nothing else.\n"
        "- It says nothing of who a person is, and nothing of masks, make-up, deepfakes, or pictures that are injected "
        "behind the camera: it sees prints and screens only.\n"
        "- It must not be the only check before an irreversible decision about a person.\n"
        "- Its error on cameras and attacks that it has not seen is the one under “Unseen domains”, not the one under "
        "“Unseen people”.\n"
        "- It has not been measured by age, sex or skin tone: the data do not name them.",
        *(["## Members", members] if members else []),
        "## Trained on",
        "\n".join(f"- {entry}" for entry in provenance.data),
        f"Split by person. Faces by `{manifest.detector.name}`, {_crops(manifest)}. "
        f"Code at commit `{provenance.git_commit}`, seed {provenance.seed}; settings and library versions are in "
        f"`bundle.json`.{_kept_from(provenance)}{_teachers(provenance)}{_grey(provenance)}",
        "## Unseen people of the same domains",
        f"Scored by the networks of this bundle ({manifest.variants[0].precision}), at the threshold of "
        f"`{manifest.default_operating_point}`. Percent.",
        _table(test) if test else "Not measured: all their people were trained on.",
        "## Unseen domains",
        (
            "The same recipe trained without the domain, then scored on all of it; thresholds from the domains that "
            "were trained on (realistic) or from the domain itself (idealised, as most published tables have it). "
            f"Percent.{_shorter(held_out)}\n\n" + _table(held_out)
            if held_out
            else "Not measured."
        ),
        "APCER is that of the worst PAI species (ISO/IEC 30107-3); APNRR and BPNRR are the attacks and the bona fide "
        "presentations in which no face was found. Quality gates are not part of these figures." + _levels(manifest),
        *_by_species(manifest),
        *(["## Where it fails", failures.strip()] if failures.strip() else []),
        "## Operating points",
        "A face is live when its score is at or above the threshold. Chosen on "
        f"{manifest.operating_points[manifest.default_operating_point].chosen_on}.{_names(manifest.operating_points)}",
        _points(manifest.operating_points, manifest.default_operating_point),
        f"Temperature {manifest.temperature:.3f}. On other cameras expect other rates: choose thresholds on data of "
        "your own before relying on them.",
        *_clips(manifest),
        "## Precisions",
        _variants(manifest, sizes),
        "## Replacing it",
        "Train on data of your own and export a bundle: `docs/training.md`.",
    ]
    return "\n\n".join(sections) + "\n"


def _both_rates(test: Mapping[str, Mapping[str, float]], held_out: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What a reader must not miss: both error rates of photos, for known and for unknown cameras."""
    lines = []
    for camera, rows in (("known, people new", test), ("unknown: left out of training", held_out)):
        photos = [values for name, values in rows.items() if "@" not in name and {"apcer", "bpcer"} <= values.keys()]
        if photos:
            lines.append(f"| {camera} | {_span(photos, 'bpcer')} | {_span(photos, 'apcer')} |")
    if not lines:
        return []
    head = [
        "| camera | live people refused (BPCER) | attacks that pass, of the worst kind (APCER) |",
        "| --- | --- | --- |",
    ]
    said = "What it gets wrong, from the best to the worst of the data sets below, at their thresholds:"
    return [said, "\n".join([*head, *lines])]


def _span(rows: Sequence[Mapping[str, float]], key: str) -> str:
    low, high = (100 * find(values[key] for values in rows) for find in (min, max))
    return f"{high:.1f} %" if len(rows) == 1 else f"{low:.1f} to {high:.1f} %"


def _crops(manifest: Manifest) -> str:
    if manifest.schema_version == 2:
        return "a crop for each member"
    return f"crops of {manifest.views[0].margin:g} times the face"


def _levels(manifest: Manifest) -> str:
    """How to read the rows of the levels that occur."""
    levels = {name.partition("@")[2] for name in manifest.metrics}
    said = {
        "video": "`@video` rows count recordings, by the mean of their frames' scores",
        "clip": "`@clip` rows count clips, by the temporal head",
    }
    text = ""
    if there := [said[level] for level in said if level in levels]:
        text += f" {'; '.join(there)}; their threshold is where error rates are equal on development people."
    if any(key.endswith("_low") for values in manifest.metrics.values() for key in values):
        text += " Brackets hold 95 % intervals."
    return text


def _clips(manifest: Manifest) -> list[str]:
    """The section on the temporal head, or on its absence where the run had one."""
    head = manifest.temporal
    if head is None:
        if not manifest.provenance.config.get("lstm"):
            return []
        return [
            "## Clips",
            "The run had a temporal head, which is left out: its development people have no clips of both labels, so "
            "that no threshold could be chosen honestly. This bundle scores photos only.",
        ]
    return [
        "## Clips",
        f"A temporal head, `{head.network.file}`, gives a clip one score from {head.clip.frames} frames. Thresholds of "
        f"its own, chosen on {head.operating_points[manifest.default_operating_point].chosen_on}.",
        _points(head.operating_points, manifest.default_operating_point),
        f"Temperature {head.temperature:.3f}.",
    ]


def _by_species(manifest: Manifest) -> list[str]:
    """The section with APCER by PAI species, for photos, at the threshold of the tables above."""
    lines = [
        f"| {name} | {key.removeprefix('apcer/')} | {100 * rate:.1f} |"
        for name, values in manifest.metrics.items()
        if "@" not in name and name != "test"
        for key, rate in values.items()
        if key.startswith("apcer/")
    ]
    if not lines:
        return []
    return ["## By kind of attack", "\n".join(["| data | attack | APCER |", "| --- | --- | --- |", *lines])]


def _earlier_runs(provenance: Provenance) -> Iterator[dict[str, JsonValue]]:
    """The run that this one started from, the run before that one, and so on."""
    earlier = provenance.config.get("init_run")
    while isinstance(earlier, dict):
        yield earlier
        earlier = earlier.get("init_run")


def _teachers(provenance: Provenance) -> str:
    """Names the networks that the encoder learned from, in this run or in the run that it comes from."""
    lists = [provenance.config.get("teacher"), *(earlier.get("teacher") for earlier in _earlier_runs(provenance))]
    teachers = next((found for found in lists if found), None)
    if not isinstance(teachers, list):
        return ""
    names = ", ".join(f"`{teacher['name']}`" for teacher in teachers if isinstance(teacher, dict))
    return (
        f" Beside the labels it learned from the scores of published networks ({names}; hashes in `bundle.json`), "
        "which are no part of it."
    )


def _grey(provenance: Provenance) -> str:
    """Says that the classifier of photos was refit to grey pictures, in this run or in the run that it comes from."""
    weights = [provenance.config.get("grey_weight")]
    for earlier in _earlier_runs(provenance):
        settings = earlier.get("config")
        weights.append(settings.get("grey_weight") if isinstance(settings, dict) else None)
    weight = next((found for found in weights if found), None)
    if not isinstance(weight, int | float):
        return ""
    return (
        " When training was over the classifier of photos was changed so that grey copies of training pictures get the "
        f"score of the coloured ones (`grey_weight` {weight:g})."
    )


def _kept_from(provenance: Provenance) -> str:
    """Names the run whose encoder and classifier a run with `frozen` kept."""
    earlier = next(_earlier_runs(provenance), None)
    if not provenance.config.get("frozen") or earlier is None:
        return ""
    return (
        f" The encoder and the classifier of photos are those of an earlier run (code at commit "
        f"`{earlier['git_commit']}`), kept as they were: only the temporal head was trained on top of them."
    )


def _shorter(held_out: Mapping[str, Mapping[str, float]]) -> str:
    """Says so where the figures come from shorter runs than the bundle's own."""
    steps = sorted({values["steps"] for values in held_out.values() if "steps" in values})
    if not steps:
        return ""
    iterations = " and ".join(f"{count:.0f}" for count in steps)
    return f" They come from shorter runs than this bundle's, of {iterations} iterations."


def _table(rows: Mapping[str, Mapping[str, float]]) -> str:
    lines = [
        "| data | presentations | " + " | ".join(title for _, title in _COLUMNS) + " |",
        "| --- " * (len(_COLUMNS) + 2) + "|",
    ]
    for name, values in rows.items():
        cells = " | ".join(_cell(values, key) for key, _ in _COLUMNS)
        count = values.get("presentations", values.get("images", 0))
        lines.append(f"| {name} | {count:.0f} | {cells} |")
    return "\n".join(lines)


def _cell(values: Mapping[str, float], key: str) -> str:
    """A figure in percent with its interval, where there is one."""
    if key not in values:
        return "–"
    shown = f"{100 * values[key]:.1f}"
    low, high = values.get(f"{key}_low"), values.get(f"{key}_high")
    return shown if low is None or high is None else f"{shown} [{100 * low:.1f}, {100 * high:.1f}]"


def _names(points: Mapping[str, OperatingPoint]) -> str:
    """What the names of the points say, of those that there are."""
    said = {
        "balanced": "`balanced` has the least sum of both errors, each data set counting the same",
        "eer": "at `eer` both are equal",
        "apcer": "`apcer` and a number say what percentage of attacks passes",
    }
    there = [words for name, words in said.items() if any(point.rstrip("0123456789") == name for point in points)]
    return f" {'; '.join(there)}." if there else ""


def _points(points: Mapping[str, OperatingPoint], default: str) -> str:
    lines = ["| name | threshold | APCER there | BPCER there |", "| --- | --- | --- | --- |"]
    for name, point in points.items():
        mark = " (default)" if name == default else ""
        lines.append(f"| {name}{mark} | {point.threshold:.4f} | {100 * point.apcer:.1f} | {100 * point.bpcer:.1f} |")
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
