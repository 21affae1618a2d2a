"""What a calibration concludes: thresholds, what they promise, and the operating points of a bundle."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from liveness_core.bundle import Calibration, Manifest, OperatingPoint, ScoreDistribution
from liveness_service.calibration.dataset import data_hash, without_copies
from liveness_service.calibration.expectation import Expectation, expected_apcer, points_of
from liveness_service.calibration.faces import CalibrationError, Judged, Scores, TooFewPeopleError
from liveness_service.calibration.labelled import Costs, Point, check_labelled, points
from liveness_service.calibration.live_only import Choice, check_people, choose
from liveness_service.submission import Endpoint

OTHER_SHARES = (0.02, 0.05, 0.10)
"""Shares that are shown beside the chosen one, so that whoever sets the threshold sees what it trades."""
WORDS = {Endpoint.PHOTO: "photos", Endpoint.CLIP: "clips"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for."""

    name: str
    """Of the operating point."""
    source: str
    """The data, by the name of their folder or index."""
    share: float = 0.05
    """Share of live people that may be refused, where there are no attacks."""
    costs: Costs = Costs()  # noqa: RUF009 (frozen)
    targets: Mapping[str, float] | None = None
    """Operating points by target rates, where there are attacks: `apcer5` and the share, and so on."""


@dataclass(frozen=True, slots=True)
class LiveOnly:
    """Photos or clips of live people alone."""

    choice: Choice
    expected: Expectation
    others: tuple[tuple[Choice, Expectation], ...]
    """The same for other shares, as far as these people allow."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Photos or clips of live people and attacks."""

    points: tuple[Point, ...]
    """The first is the one of least cost."""
    left_out: dict[str, str]
    """Points that these data do not allow, and why."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is concluded of all photos, or of all clips."""

    endpoint: Endpoint
    scores: Scores
    found: LiveOnly | Labelled
    usual: float
    """Threshold of the bundle's default operating point."""

    @property
    def threshold(self) -> float:
        """The one to set."""
        return self.found.choice.threshold if isinstance(self.found, LiveOnly) else self.found.points[0].threshold


@dataclass(frozen=True, slots=True)
class Outcome:
    """A whole calibration."""

    wanted: Wanted
    parts: tuple[Part, ...]
    """Photos, clips, or both, photos first."""
    too_few: dict[Endpoint, str]
    """What was left out because it has too few people, and how many it takes."""
    judged: tuple[Judged, ...]
    copies: int
    """Files whose content was there before; they count once."""
    data_sha256: str
    now: datetime

    @property
    def undetermined(self) -> dict[str, int]:
        """How many files have no score, by reason, the most frequent first."""
        reasons = (reason for each in self.judged if each.answer.score is None for reason in each.answer.reasons)
        return dict(Counter(reasons).most_common())

    def without_score(self, endpoint: Endpoint) -> int:
        """How many photos or clips have no score."""
        return sum(each.answer.score is None and each.answer.endpoint is endpoint for each in self.judged)


def conclude(judged: Sequence[Judged], manifest: Manifest, wanted: Wanted, now: datetime) -> Outcome:
    """Choose the thresholds.

    Raises:
        CalibrationError: nothing of the data has a score, or the data contradict themselves.
        TooFewPeopleError: neither photos nor clips show enough people.
    """
    kept, copies = without_copies(judged)
    parts, too_few = [], {}
    for endpoint in Endpoint:
        scores = Scores.of(kept, endpoint)
        usual = points_of(manifest, endpoint).get(manifest.default_operating_point)
        if not len(scores.score_N) or usual is None:
            continue
        try:
            found = _labelled(scores, wanted) if scores.species else _live_only(scores, wanted, manifest, endpoint)
        except TooFewPeopleError as error:
            too_few[endpoint] = f"{WORDS[endpoint]}: {error}"
            continue
        parts.append(Part(endpoint, scores, found, usual.threshold))
    if not parts:
        if too_few:
            raise TooFewPeopleError("\n".join(too_few.values()))
        reasons = Counter(reason for each in kept for reason in each.answer.reasons).most_common(3)
        shown = ", ".join(f"{reason} ({count})" for reason, count in reasons)
        raise CalibrationError(f"none of {len(kept)} files has a score: {shown or 'there are none'}")
    return Outcome(wanted, tuple(parts), too_few, tuple(kept), copies, data_hash(kept), now)


def operating_points(outcome: Outcome, endpoint: Endpoint) -> dict[str, OperatingPoint]:
    """The operating points of photos or clips, by their names; none where they were not calibrated."""
    part = next((part for part in outcome.parts if part.endpoint is endpoint), None)
    if part is None:
        return {}
    if isinstance(part.found, LiveOnly):
        return {outcome.wanted.name: _of_choice(outcome, part, part.found)}
    name = outcome.wanted.name
    return {f"{name}-{one.name}" if one.name else name: _of_point(outcome, part, one) for one in part.found.points}


def _live_only(scores: Scores, wanted: Wanted, manifest: Manifest, endpoint: Endpoint) -> LiveOnly:
    choice = choose(scores, wanted.share)
    others = []
    for share in OTHER_SHARES:
        try:
            check_people(scores.people, share)
        except TooFewPeopleError:
            continue
        other = choose(scores, share)
        others.append((other, expected_apcer(manifest, endpoint, other.threshold)))
    return LiveOnly(choice, expected_apcer(manifest, endpoint, choice.threshold), tuple(others))


def _labelled(scores: Scores, wanted: Wanted) -> Labelled:
    check_labelled(scores)
    made, left_out = points(scores, wanted.costs, wanted.targets or {})
    return Labelled(tuple(made), left_out)


def _of_choice(outcome: Outcome, part: Part, found: LiveOnly) -> OperatingPoint:
    choice = found.choice
    return OperatingPoint(
        threshold=choice.threshold,
        chosen_on=f"{choice.files} {WORDS[part.endpoint]} of {choice.people} live people of {outcome.wanted.source}",
        apcer=found.expected.apcer,
        bpcer=choice.expected,
        calibration=Calibration(
            method="live_only",
            rule=f"{100 * choice.share:g} % of live people are refused",
            data_sha256=outcome.data_sha256,
            created_at=outcome.now,
            live_people=choice.people,
            live_files=choice.files,
            undetermined_files=outcome.without_score(part.endpoint),
            bpcer_low=choice.low,
            bpcer_high=choice.high,
            apcer_of=found.expected.source,
        ),
        reference_scores=ScoreDistribution.of(part.scores.live.score_N.tolist()),
    )


def _of_point(outcome: Outcome, part: Part, point: Point) -> OperatingPoint:
    live, attacks = part.scores.live, part.scores.attacks
    kind = WORDS[part.endpoint]
    return OperatingPoint(
        threshold=point.threshold,
        chosen_on=(
            f"{len(live.score_N)} live {kind} of {live.people} people and {len(attacks.score_N)} attacks on "
            f"{attacks.people} people, of {outcome.wanted.source}; rates of people it was not chosen on, by fifths"
        ),
        apcer=point.worst[1].share,
        bpcer=point.bpcer.share,
        calibration=Calibration(
            method="labelled",
            rule=point.rule,
            data_sha256=outcome.data_sha256,
            created_at=outcome.now,
            live_people=live.people,
            live_files=len(live.score_N),
            attack_people=attacks.people,
            attack_files=len(attacks.score_N),
            undetermined_files=outcome.without_score(part.endpoint),
            bpcer_low=point.bpcer.low,
            bpcer_high=point.bpcer.high,
            apcer_of="these_data",
        ),
        reference_scores=ScoreDistribution.of(live.score_N.tolist()),
    )
