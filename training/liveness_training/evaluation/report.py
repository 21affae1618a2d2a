"""The figures of a run: who is reported on, at whose threshold."""

from collections.abc import Mapping, Sequence

import numpy as np

from liveness_training.data.crops import CropSet
from liveness_training.data.samples import Sample
from liveness_training.evaluation.metrics import Scored, apcer, auc, bpcer, eer, hter
from liveness_training.protocols import Protocol

Report = Mapping[str, Mapping[str, float]]
"""Part of a protocol -> figure -> value; rates in [0, 1]."""


def scored_rows(scores: Mapping[int, float], crops: CropSet, rows: Sequence[int]) -> Scored:
    """The scores of some rows of a crop set, with the truth."""
    samples = [crops.samples[row] for row in rows]
    return Scored.of(
        [scores[row] for row in rows], [sample.live for sample in samples], [sample.species for sample in samples]
    )


def figures(test: Scored, threshold: float, missed: Sequence[Sample]) -> dict[str, float]:
    """The figures of one protocol.

    Args:
        test: the pictures that are reported on.
        threshold: chosen on development data (`realistic`), never on `test`.
        missed: pictures of the same protocol in which no face was found.
    """
    rate, own_threshold = eer(test)
    missed_live = sum(sample.live for sample in missed)
    live, attacks = int(test.live_M.sum()), int((~test.live_M).sum())
    return {
        "images": float(len(test.scores_M)),
        "auc": auc(test),
        "eer": rate,
        "hter_realistic": hter(test, threshold),
        # Threshold from the test set itself, as most published cross-domain tables have it.
        "hter_idealised": hter(test, own_threshold),
        "apcer": apcer(test, threshold),
        "bpcer": bpcer(test, threshold),
        "threshold": threshold,
        "bpnrr": missed_live / max(live + missed_live, 1),
        "apnrr": (len(missed) - missed_live) / max(attacks + len(missed) - missed_live, 1),
    }


def run_report(
    scores: Mapping[int, float], crops: CropSet, protocol: Protocol, threshold: float
) -> dict[str, dict[str, float]]:
    """Figures of every part that the protocol reports on.

    Args:
        scores: row of the crop set -> score, for `protocol.evaluated` at least.
        crops: the crops.
        protocol: who is reported on.
        threshold: chosen on `protocol.dev`.
    """
    report = {}
    for name, part in protocol.reports.items():
        test = scored_rows(scores, crops, part.rows)
        if len(np.unique(test.live_M)) == 2:  # else there are no error rates to give
            report[name] = figures(test, threshold, part.missed)
    return report


def as_table(report: Mapping[str, Mapping[str, float]]) -> str:
    """The report as lines of text, rates in percent."""
    columns = ("auc", "eer", "hter_realistic", "hter_idealised", "apcer", "bpcer", "apnrr", "bpnrr")
    lines = [f"{'protocol':24} {'images':>7} " + " ".join(f"{column:>14}" for column in columns)]
    for name, values in report.items():
        cells = " ".join(f"{100 * values[column]:14.2f}" for column in columns)
        lines.append(f"{name:24} {values['images']:7.0f} {cells}")
    return "\n".join(lines)
