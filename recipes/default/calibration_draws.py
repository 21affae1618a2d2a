"""How well a threshold from a few live people of a camera holds on the others, on domains kept out.

    liveness-train embed models/default DATA --out EMBEDDED.npz          # once; several archives may be given below
    python recipes/default/calibration_draws.py EMBEDDED.npz … [--draws 200] [--out ATTACKS.json]
    python recipes/default/calibration_draws.py --set ATTACKS.json --bundle models/default --version 6.1

For each domain, 20, 50 and 100 of its live people are drawn again and again, a threshold is chosen on them as
`liveness calibrate --refused 5` does, and the other people show what it refuses. Its attacks show what passes, beside
the threshold `balanced` of the other domains, which is how the shipped one was chosen, and the reference at 0.5.
`kept_out.py` says what scores.

`--out` writes the scores of the attacks by species, each domain scored by members that never saw it; `--set` puts them
into a bundle, whose other files stay as they are.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from committee import REFERENCE, Faces
from kept_out import kept_out_scores, members_for, members_of, read_embedded
from numpy.typing import NDArray

from liveness_core.bundle import Manifest, ReferenceAttacks
from liveness_core.bundle.load import MANIFEST_FILE, read_manifest
from liveness_core.bundle.save import write_whole
from liveness_service.calibration.expectation import share_passed
from liveness_service.calibration.faces import Scores
from liveness_service.calibration.live_only import choose
from liveness_training.evaluation.calibration import reference_attacks
from liveness_training.evaluation.metrics import Scored

SHARE = 0.05
PEOPLE = (20, 50, 100)
_FEWEST_OTHERS = 20


@dataclass(frozen=True, slots=True)
class Draws:
    """What the thresholds of many draws do on the people who were not drawn."""

    drawn: int
    others: int
    inside: float
    """Share of draws whose interval for all people holds the BPCER of the others."""
    inside_further: float
    """The same of the interval for so many further people."""
    bpcer: NDArray[np.float64]
    apcer: NDArray[np.float64]
    """Of the worst species, at each draw's threshold."""
    expected: NDArray[np.float64]
    """The same as the attacks of other domains let expect it, without those of this one."""


def scores_of(faces: Faces, score_N: NDArray[np.float64], rows_N: NDArray[np.bool_]) -> Scores:
    """Scores of some faces as the service's calibration takes them."""
    kept = np.flatnonzero(rows_N).tolist()
    species = ["live" if faces.samples[row].live else faces.samples[row].species for row in kept]
    return Scores(score_N[kept], np.array(species), np.array([faces.samples[row].subject for row in kept]))


def worst(attacks: Scores, threshold: float) -> float:
    """APCER of the worst species."""
    return max(1 - attacks.of_species(one).share_below(threshold) for one in attacks.species)


def draw(live: Scores, attacks: Scores, elsewhere: ReferenceAttacks, count: int, draws: int) -> Draws:
    """Draw people, choose, and look at the others."""
    random, names = np.random.default_rng(count), sorted(set(live.person_N.tolist()))
    inside, further, bpcer, apcer, expected = [], [], [], [], []
    for _ in range(draws):
        taken = np.isin(live.person_N, random.choice(names, count, replace=False))
        choice, others = choose(live.part(taken), SHARE), live.part(~taken)
        refused = others.below(choice.threshold)
        few, many = choice.of_further(others.people)
        # People may be refused in part; a count of people is reached once half of the next one is.
        further.append(few - 0.5 <= refused <= many + 0.5)
        inside.append(choice.low <= refused / others.people <= choice.high)
        bpcer.append(refused / others.people)
        apcer.append(worst(attacks, choice.threshold))
        expected.append(max(share_passed(one, choice.threshold) for one in elsewhere.photo.values()))
    means = float(np.mean(inside)), float(np.mean(further))
    return Draws(count, len(names) - count, *means, np.array(bpcer), np.array(apcer), np.array(expected))


def rows(faces: Faces, manifest: Manifest, draws: int) -> Iterator[str]:
    """The lines of the table."""
    titles = (
        "kept out, people",
        "drawn, others",
        "BPCER of the others within the interval: of so many further people, of all people",
        "BPCER of the others",
        "APCER",
        "APCER expected from the other domains",
        "`balanced` of the other domains: APCER, BPCER",
        "reference at 0.5: APCER, BPCER",
    )
    yield f"| {' | '.join(titles)} |"
    yield "| --- " * len(titles) + "|"
    for domain in sorted({*faces.domain.tolist()}):
        here_N = faces.domain == domain
        score_N, threshold = kept_out_scores(faces, domain)
        live, attacks = (scores_of(faces, score_N, here_N & (faces.live == label)) for label in (True, False))
        elsewhere = reference_attacks(faces.scored(score_N, ~here_N & ~faces.live), "the other domains")
        reference_N = reference(faces, manifest)
        theirs = [scores_of(faces, reference_N, here_N & (faces.live == label)) for label in (True, False)]
        fixed = f"{both(worst(attacks, threshold), live.share_below(threshold))} | "
        fixed += both(worst(theirs[1], 0.5), theirs[0].share_below(0.5))
        title = f"{domain}, {live.people}"
        counts = [count for count in PEOPLE if live.people - count >= _FEWEST_OTHERS]
        if not counts:
            yield f"| {title} | too few people | – | – | – | – | {fixed} |"
        for count in counts:
            found = draw(live, attacks, elsewhere, count, draws)
            holds = f"{100 * found.inside_further:.0f}, {100 * found.inside:.0f} %"
            rates = f"{spread(found.bpcer)} | {spread(found.apcer)} | {spread(found.expected)}"
            yield f"| {title} | {count}, {found.others} | {holds} | {rates} | {fixed} |"


def reference(faces: Faces, manifest: Manifest) -> NDArray[np.float64]:
    """Score of the reference: the mean of its two networks' probabilities, from their calibrated log-odds."""
    found = []
    for name in REFERENCE:
        line = members_of(manifest)[name]["calibration"]
        y_N = faces.x_NM[:, faces.members.index(name)]
        found.append(1 / (1 + np.exp(-(y_N - line["offset"]) / line["slope"])))
    return np.asarray(np.mean(found, axis=0))


def both(apcer: float, bpcer: float) -> str:
    """Two rates in percent."""
    return f"{100 * apcer:.1f}, {100 * bpcer:.1f} %"


def spread(rates: NDArray[np.float64]) -> str:
    """Mean and the middle 90 % of draws."""
    low, high = np.percentile(rates, [5, 95])
    return f"{100 * rates.mean():.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def attacks_of(faces: Faces) -> ReferenceAttacks:
    """Attacks of all domains, each scored by members that never saw it."""
    score_N, names = np.zeros(len(faces.samples)), sorted({*faces.domain.tolist()})
    for domain in names:
        here_N = faces.domain == domain
        score_N[here_N] = kept_out_scores(faces, domain)[0][here_N]
    scored = Scored.of(
        score_N,
        faces.live,
        [sample.species for sample in faces.samples],
        [f"{sample.domain}/{sample.subject}" for sample in faces.samples],
    )
    by = "; ".join(f"{domain} by {', '.join(members_for(faces, domain))}" for domain in names)
    return reference_attacks(scored, f"attacks of data sets that the scoring members never saw: {by}")


def set_attacks(bundle: Path, attacks: ReferenceAttacks, version: str) -> None:
    """Write the manifest anew; the other files stay as they are."""
    manifest = read_manifest(bundle)
    changed = manifest.model_copy(update={"reference_attacks": attacks, "version": version}).sealed()
    write_whole(bundle / MANIFEST_FILE, (changed.model_dump_json(indent=2) + "\n").encode())


def main() -> None:
    """Draw and print, or write reference attacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embedded", type=Path, nargs="*")
    parser.add_argument("--bundle", type=Path, default=Path("models/default"))
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", type=Path, dest="attacks")
    parser.add_argument("--version")
    options = parser.parse_args()
    if options.attacks is not None:
        if options.version is None:
            parser.error("--set needs --version: a bundle with another manifest is another version")
        set_attacks(options.bundle, ReferenceAttacks.model_validate_json(options.attacks.read_text()), options.version)
        return
    manifest = read_manifest(options.bundle)
    faces = read_embedded(options.embedded, manifest)
    for line in rows(faces, manifest, options.draws):
        print(line, flush=True)
    if options.out is not None:
        options.out.write_text(attacks_of(faces).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
