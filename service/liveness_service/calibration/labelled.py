"""Operating points from live people and attacks: by target rates, and by what errors cost."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from liveness_service.calibration.curves import Curves, curves
from liveness_service.calibration.faces import Scores, TooFewPeopleError
from liveness_service.calibration.intervals import people_for_share, rate_interval
from liveness_service.calibration.live_only import FEWEST_PEOPLE

FEWEST_OF_A_SPECIES = 10
"""Fewer people of a PAI species say nothing about it: without any error among 9 its APCER may still be 34 %."""
_FOLDS = 5
_ROUNDING = 1e-12

Rule = Callable[[Curves], float | None]
"""Chooses a threshold; None where no score of the data fulfils what is asked."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What errors cost, and how often attacks come."""

    attack_passes: float = 1.0
    """Cost of an attack that passes, in any unit."""
    live_refused: float = 1.0
    """Cost of a live person who is refused, in the same unit."""
    prevalence: float = 0.5
    """Share of presentations that are attacks, 0 to 1. With both costs equal, a half weighs both rates the same."""

    def of(self, apcer: float, bpcer: float) -> float:
        """Cost of a presentation on average, in that unit."""
        return self.prevalence * self.attack_passes * apcer + (1 - self.prevalence) * self.live_refused * bpcer


@dataclass(frozen=True, slots=True)
class Rate:
    """An error rate of people whom the threshold was not chosen on."""

    errors: float
    """People with the error, each counted by the share of their files."""
    people: int
    low: float
    """With 95 % confidence the rate of all people lies from here …"""
    high: float
    """… to here."""

    @property
    def share(self) -> float:
        """The rate, 0 to 1."""
        return self.errors / self.people

    @classmethod
    def of(cls, errors: float, people: int) -> "Rate":
        """The rate with its interval."""
        return cls(errors, people, *rate_interval(min(errors, people), people))


@dataclass(frozen=True, slots=True)
class Point:
    """An operating point, with its error rates on people whom it was not chosen on (`_crossed`)."""

    name: str
    """Ending of its name, e.g. `apcer5`; empty for the one of least cost."""
    rule: str
    """What it fulfils, in words."""
    threshold: float
    """Chosen on all people."""
    bpcer: Rate
    apcer: dict[str, Rate]
    """By PAI species."""
    own_bpcer: float
    """BPCER of the very people it was chosen on, as most tables have it: too good, and no promise."""
    own_apcer: float

    @property
    def worst(self) -> tuple[str, Rate]:
        """The species with the highest APCER, and that rate."""
        return max(self.apcer.items(), key=lambda item: item[1].share)


def check_labelled(scores: Scores) -> None:
    """Refuse data of too few people.

    Raises:
        TooFewPeopleError: fewer than 20 live people, or than 10 of a species.
    """
    people = scores.live.people
    if people < FEWEST_PEOPLE:
        raise TooFewPeopleError(
            f"{people} live people have a score, and it takes {FEWEST_PEOPLE}: fewer do not show how many are refused"
        )
    for species in scores.species:
        people = scores.of_species(species).people
        if people < FEWEST_OF_A_SPECIES:
            raise TooFewPeopleError(
                f"attacks of the species {species} show {people} people, and it takes {FEWEST_OF_A_SPECIES}: without "
                f"an error among {people} its APCER could still be {100 * rate_interval(0, max(people, 1))[1]:.0f} %. "
                "Record more, or leave the species out of the index"
            )


def points(scores: Scores, costs: Costs, targets: Mapping[str, float]) -> tuple[list[Point], dict[str, str]]:
    """The operating points of these data, and why others are left out, by their names.

    Args:
        scores: files of both labels, enough of each (`check_labelled`).
        costs: what errors cost.
        targets: `apcer` or `bpcer` and a number of percent, as in `apcer5`, and the share.
    """
    made, left_out = [], {}
    people = {"bpcer": scores.live.people, "apcer": min(scores.of_species(one).people for one in scores.species)}
    rules: dict[str, tuple[str, Rule]] = {
        "": (_in_words(costs), lambda found: _cheapest(found, costs)),
        "eer": ("as many attacks pass as live people are refused", equal),
    }
    for name, share in targets.items():
        kind = name.rstrip("0123456789.")
        needed = people_for_share(share)
        if people[kind] < needed:
            of = "live people" if kind == "bpcer" else "people of every attack species"
            left_out[name] = f"{100 * share:g} % of people is less than one of {people[kind]}: it takes {needed} {of}"
        elif kind == "apcer":
            rules[name] = (f"at most {100 * share:g} % of the worst attack species pass", _at_apcer(share))
        else:
            rules[name] = (f"at most {100 * share:g} % of live people are refused", _at_bpcer(share))
    whole = curves(scores)
    for name, (words, rule) in rules.items():
        threshold = rule(whole)
        if threshold is None:
            left_out[name] = "even the highest score of these data lets too many attacks pass"
            continue
        live, attacks = _crossed(scores, rule)
        row = int(np.searchsorted(whole.thresholds_U, threshold))
        own = (float(whole.bpcer_U[row]), float(whole.worst[row]))
        made.append(Point(name, words, threshold, live, attacks, *own))
    return made, left_out


def equal(found: Curves) -> float:
    """The threshold at which both rates are nearest to each other, all attacks together; the higher one of two."""
    distance_U = np.abs(found.passed_U - found.bpcer_U)
    return float(found.thresholds_U[len(distance_U) - 1 - int(np.argmin(distance_U[::-1]))])


def _at_apcer(share: float) -> Rule:
    def lowest(found: Curves) -> float | None:
        fits = np.flatnonzero(found.worst <= share + _ROUNDING)
        return float(found.thresholds_U[fits[0]]) if len(fits) else None

    return lowest


def _at_bpcer(share: float) -> Rule:
    # The lowest score refuses nobody, so there always is one.
    return lambda found: float(found.thresholds_U[np.flatnonzero(found.bpcer_U <= share + _ROUNDING)[-1]])


def _cheapest(found: Curves, costs: Costs) -> float:
    cost_U = (
        costs.prevalence * costs.attack_passes * found.worst
        + (1 - costs.prevalence) * costs.live_refused * found.bpcer_U
    )
    return float(found.thresholds_U[int(np.argmin(cost_U))])


def _in_words(costs: Costs) -> str:
    return (
        f"the least cost, where an attack that passes costs {costs.attack_passes:g}, a live person who is refused "
        f"{costs.live_refused:g}, and {100 * costs.prevalence:g} % of presentations are attacks"
    )


def _crossed(scores: Scores, rule: Rule) -> tuple[Rate, dict[str, Rate]]:
    """Error rates of people whom the threshold was not chosen on: each fifth of them at the threshold of the others.

    A person's live files and attacks are in the same fifth.
    """
    fold_N = _folds(scores)
    refused, passed = 0.0, dict.fromkeys(scores.species, 0.0)
    for fold in range(_FOLDS):
        rest, here = scores.part(fold_N != fold), scores.part(fold_N == fold)
        # A rule that the others cannot fulfil lets nothing pass.
        threshold = rule(curves(rest))
        refused += here.live.people if threshold is None else here.live.below(threshold)
        for species in scores.species:
            attacks = here.of_species(species)
            passed[species] += 0.0 if threshold is None else attacks.people - attacks.below(threshold)
    return (
        Rate.of(refused, scores.live.people),
        {species: Rate.of(max(count, 0.0), scores.of_species(species).people) for species, count in passed.items()},
    )


def _folds(scores: Scores) -> np.ndarray:
    """The fifth that each file's person belongs to: the same in every run, and as even as can be.

    People are dealt out by what is known of them (live, which species), so that every fifth has of each.
    """
    kinds: dict[str, set[str]] = {}
    for person, species in zip(scores.person_N.tolist(), scores.species_N.tolist(), strict=True):
        kinds.setdefault(person, set()).add(species)
    order = sorted(kinds, key=lambda person: (sorted(kinds[person]), hashlib.sha256(person.encode()).digest()))
    fold = {person: number % _FOLDS for number, person in enumerate(order)}
    return np.array([fold[person] for person in scores.person_N.tolist()])
