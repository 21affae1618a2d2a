"""The outcome in plain words, for the terminal and the report: what to set, and what it costs."""

from liveness_service.calibration.expectation import SOURCES
from liveness_service.calibration.labelled import Point, Rate
from liveness_service.calibration.outcome import WORDS, Labelled, LiveOnly, Outcome, Part


def percent(share: float) -> str:
    """A share as people read it: 4.8 %, and 17 % from ten on."""
    value = 100 * share
    return f"{value:.1f} %" if 0.05 <= value < 9.95 or 90.05 < value < 100 else f"{value:.0f} %"


def between(low: float, high: float, word: str = "to") -> str:
    """An interval of shares: 0.1 to 17 %."""
    return f"{percent(low).removesuffix(' %')} {word} {percent(high)}"


def number(count: float) -> str:
    """A count of people, which may be a fraction where only some files of a person count."""
    return f"{count:.0f}" if abs(count - round(count)) < 0.05 else f"{count:.1f}"


def advice(outcome: Outcome, part: Part) -> str:
    """One paragraph: what to set, what it costs, and what was not measured."""
    if isinstance(part.found, LiveOnly):
        return _of_live_only(outcome, part, part.found)
    return _of_labelled(outcome, part, part.found)


def _of_live_only(outcome: Outcome, part: Part, found: LiveOnly) -> str:
    choice, expected = found.choice, found.expected
    fewest, most = choice.of_further(choice.people)
    by_species = ""
    if expected.species:
        worst = max(expected.species, key=expected.species.__getitem__)
        by_species = f" ({worst}, the worst species)"
    at_usual = part.scores.live.share_below(part.usual)
    return (
        f"Set {outcome.wanted.name} for {WORDS[part.endpoint]} to {choice.threshold:.4f}. Then about "
        f"{percent(choice.expected)} of the live people at this camera are refused: with {choice.people} people "
        f"measured, the share of all people lies between {between(choice.low, choice.high, 'and')} (95 % confidence), "
        f"and a check with {choice.people} other people will see {fewest} to {most} of them refused. "
        f"{_undetermined(outcome, part)}"
        f"Of {SOURCES[expected.source]}, {percent(expected.apcer)} pass at this threshold{by_species}: that is what to "
        f"expect, no measurement, and may be far off, since nobody has attacked this camera yet. The bundle's own "
        f"threshold, {part.usual:.4f}, would refuse {percent(at_usual)} of these people."
    )


def _of_labelled(outcome: Outcome, part: Part, found: Labelled) -> str:
    point = found.points[0]
    species, worst = point.worst
    return (
        f"Set {outcome.wanted.name} for {WORDS[part.endpoint]} to {point.threshold:.4f}: {point.rule}. Of people whom "
        f"the threshold was not chosen on, it refused {_rate(point.bpcer, 'live people')}, and let pass "
        f"{_rate(worst, f'people shown by attacks of the worst species, {species}')}. "
        f"{_undetermined(outcome, part)}"
        f"At the bundle's own threshold, {part.usual:.4f}, {percent(part.scores.live.share_below(part.usual))} of "
        f"these live people are refused, and {percent(_worst_at(part, part.usual))} of the worst attack species pass."
    )


def _rate(rate: Rate, what: str) -> str:
    return (
        f"{number(rate.errors)} of {rate.people} {what} ({percent(rate.share)}; of all people "
        f"{between(rate.low, rate.high)}, with 95 % confidence)"
    )


def _undetermined(outcome: Outcome, part: Part) -> str:
    missing = outcome.without_score(part.endpoint)
    if not missing:
        return ""
    count = sum(each.answer.endpoint is part.endpoint for each in outcome.judged)
    return (
        f"{missing} of {count} {WORDS[part.endpoint]} got no score at all (undetermined), which no threshold changes. "
    )


def _worst_at(part: Part, threshold: float) -> float:
    return max(1 - part.scores.of_species(species).share_below(threshold) for species in part.scores.species)


def table(outcome: Outcome, part: Part) -> list[tuple[str, ...]]:
    """The operating points, a row each after the header."""
    if isinstance(part.found, LiveOnly):
        choice = part.found.choice
        header = ("refused people", "threshold", "to expect", "of all people (95 %)", "attacks that pass, expected")
        rows: list[tuple[str, ...]] = [header]
        others = [pair for pair in part.found.others if pair[0].share != choice.share]
        for one, expected in sorted([(choice, part.found.expected), *others], key=lambda pair: pair[0].share):
            mark = f"{100 * one.share:g} %" + (" (chosen)" if one.share == choice.share else "")
            cells = (f"{one.threshold:.4f}", percent(one.expected), between(one.low, one.high))
            rows.append((mark, *cells, percent(expected.apcer)))
        return rows
    species = list(part.found.points[0].apcer)
    head = ("operating point", "threshold", "BPCER (95 %)", *(f"APCER {one} (95 %)" for one in species))
    return [head, *(_row(outcome, point, species) for point in part.found.points)]


def _row(outcome: Outcome, point: Point, species: list[str]) -> tuple[str, ...]:
    name = outcome.wanted.name + (f"-{point.name}" if point.name else "")
    rates = (point.bpcer, *(point.apcer[one] for one in species))
    cells = (f"{percent(rate.share)} ({between(rate.low, rate.high)})" for rate in rates)
    return (name, f"{point.threshold:.4f}", *cells)


def key_figures(part: Part) -> list[tuple[str, str, str]]:
    """The three figures that matter most: what it is, its value, and how sure it is."""
    if isinstance(part.found, LiveOnly):
        choice, expected = part.found.choice, part.found.expected
        return [
            ("threshold", f"{choice.threshold:.3f}", f"the bundle's own is {part.usual:.3f}"),
            ("live people refused", percent(choice.expected), f"{between(choice.low, choice.high)} of all people"),
            ("attacks that pass", percent(expected.apcer), "expected from other cameras, not measured"),
        ]
    point = part.found.points[0]
    bpcer, (species, worst) = point.bpcer, point.worst
    return [
        ("threshold", f"{point.threshold:.3f}", f"the bundle's own is {part.usual:.3f}"),
        ("live people refused", percent(bpcer.share), f"{between(bpcer.low, bpcer.high)} of all people"),
        ("attacks that pass", percent(worst.share), f"{species}, the worst species; {between(worst.low, worst.high)}"),
    ]
