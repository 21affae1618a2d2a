"""Thresholds, rates and intervals of `liveness calibrate`, against computations by SciPy and scikit-learn."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from liveness_core.bundle import AttackScores, ReferenceAttacks
from liveness_core.bundle.load import read_manifest
from liveness_service.calibration.curves import curves
from liveness_service.calibration.dataset import data_hash, read_folder, read_index, without_copies
from liveness_service.calibration.expectation import expected_apcer
from liveness_service.calibration.faces import Answer, CalibrationError, Case, Judged, Scores, TooFewPeopleError
from liveness_service.calibration.intervals import (
    further_interval,
    order_interval,
    people_for_claim,
    people_for_share,
    rate_interval,
)
from liveness_service.calibration.labelled import Costs, Rate, check_labelled, points
from liveness_service.calibration.live_only import choose
from liveness_service.calibration.outcome import Wanted, conclude, operating_points
from liveness_service.calibration.words import between
from liveness_service.calibration.writing import calibrated
from liveness_service.submission import Endpoint
from support.tiny_bundle import make_tiny_bundle

TARGETS = {"apcer10": 0.10, "apcer5": 0.05, "bpcer10": 0.10, "bpcer5": 0.05}


def live(*scores, people=None):
    count = len(scores)
    return Scores(
        np.array(scores, float), np.array(["live"] * count), np.array(people or [f"p{k}" for k in range(count)])
    )


@pytest.fixture(scope="module")
def labelled():
    """80 live people and 60 attacked ones, one to four files each, with ties."""
    random = np.random.default_rng(3)
    rows = []
    for species, people, mean in (("live", 80, 1.5), ("print", 60, -2.0), ("replay", 60, -1.0)):
        for person in range(people):
            own = random.normal(mean, 1.2)
            for _ in range(random.integers(1, 5)):
                score = np.round(1 / (1 + np.exp(-(own + random.normal(0, 0.5)))), 2)
                rows.append((score, species, f"p{person}"))
    score, species, person = zip(*rows, strict=True)
    return Scores(np.array(score), np.array(species), np.array(person))


def test_intervals_are_those_of_the_beta_distribution():
    for errors, people in ((1, 20), (3.5, 50), (0.25, 30), (299, 300)):
        low, high = rate_interval(errors, people)
        assert low == pytest.approx(stats.beta.ppf(0.025, errors, people - errors + 1), abs=1e-9)
        assert high == pytest.approx(stats.beta.ppf(0.975, errors + 1, people - errors), abs=1e-9)
    assert rate_interval(0, 30) == (0.0, pytest.approx(1 - 0.025 ** (1 / 30)))
    assert rate_interval(30, 30) == (pytest.approx(0.025 ** (1 / 30)), 1.0)
    assert order_interval(1, 20) == (0.0, pytest.approx(stats.beta.ppf(0.95, 1, 20)))
    low, high = order_interval(5, 100)
    share = stats.beta(5, 96)
    assert share.cdf(high) - share.cdf(low) == pytest.approx(0.95)
    assert share.pdf(low) == pytest.approx(share.pdf(high), rel=1e-2)  # the shortest one
    few, many = further_interval(5, 100, 200)
    further = stats.betabinom(200, 5, 96)
    assert further.cdf(many) - further.cdf(few - 1) >= 0.95
    assert further.cdf(many - 1) - further.cdf(few - 1) < 0.95


def test_how_many_people_a_share_and_a_claim_take():
    assert [people_for_share(share) for share in (0.10, 0.05, 0.02, 0.01)] == [9, 19, 49, 99]
    assert [people_for_claim(share) for share in (0.10, 0.05, 0.01)] == [29, 59, 299]


def test_the_threshold_of_live_people_is_an_order_statistic():
    random = np.random.default_rng(1)
    for people, share, rank in ((20, 0.05, 1), (39, 0.05, 2), (99, 0.05, 5), (100, 0.10, 10), (49, 0.02, 1)):
        scores = random.random(people)
        choice = choose(live(*scores), share)
        assert choice.threshold == np.sort(scores)[rank - 1]
        assert (choice.expected, choice.refused) == (pytest.approx(rank / (people + 1)), pytest.approx(rank - 1))


def test_the_intervals_that_the_page_promises():
    page = (Path(__file__).parents[2] / "docs" / "calibration.md").read_text()
    for people in (20, 50, 100):
        choice = choose(live(*np.linspace(0.1, 0.9, people)), 0.05)
        assert f"| {people} | {between(choice.low, choice.high)} |" in page


def test_the_interval_holds_what_other_people_show():
    random = np.random.default_rng(2)
    inside = inside_further = 0
    for _ in range(400):
        choice = choose(live(*random.beta(5, 1, 50)), 0.05)
        inside += choice.low <= stats.beta.cdf(choice.threshold, 5, 1) <= choice.high
        few, many = choice.of_further(80)
        inside_further += few <= (random.beta(5, 1, 80) < choice.threshold).sum() <= many
    assert 0.92 < inside / 400 < 0.98
    assert inside_further / 400 > 0.92


def test_people_count_and_not_pictures():
    others = np.linspace(0.5, 0.9, 39)
    one = choose(live(0.3, *others), 0.05)
    # The same person with ten pictures, all alike, and nobody else counts less for it.
    many = choose(live(*[0.3] * 10, *others, people=["p"] * 10 + [f"q{k}" for k in range(39)]), 0.05)
    assert (many.threshold, many.people, many.files) == (one.threshold, 40, 49)
    assert (many.low, many.high, many.expected) == (one.low, one.high, one.expected)


@pytest.mark.parametrize(
    ("people", "share", "said"),
    [(19, 0.05, "19 live people.*takes 20"), (48, 0.02, "takes 49; 48 are enough for --refused 2.1")],
)
def test_too_few_live_people_are_told_how_many_it_takes(people, share, said):
    scores = np.linspace(0.1, 0.9, people + 1)
    with pytest.raises(TooFewPeopleError, match=said):
        choose(live(*scores[:-1]), share)
    assert choose(live(*scores), share).refused == 0


def test_where_many_share_the_lowest_score_nobody_is_refused():
    choice = choose(live(*[0.9] * 30), 0.05)
    assert (choice.threshold, choice.refused, choice.low) == (0.9, 0, 0)


def test_curves_are_those_of_scikit_learn(labelled):
    found, weights = curves(labelled), labelled.weights()
    is_live = labelled.species_N == "live"
    for species in ("print", "replay"):
        rows = is_live | (labelled.species_N == species)
        passed, accepted, thresholds = roc_curve(
            is_live[rows], labelled.score_N[rows], sample_weight=weights[rows], drop_intermediate=False
        )
        here = np.searchsorted(found.thresholds_U, thresholds[1:])
        assert found.apcer_SU[species][here] == pytest.approx(passed[1:])
        assert found.bpcer_U[here] == pytest.approx(1 - accepted[1:])
    assert found.auc == pytest.approx(roc_auc_score(is_live, labelled.score_N, sample_weight=weights))


def test_operating_points_are_where_scikit_learn_has_them(labelled):
    weights, is_live = labelled.weights(), labelled.species_N == "live"
    passed, accepted, thresholds = roc_curve(is_live, labelled.score_N, sample_weight=weights, drop_intermediate=False)
    thresholds, passed, refused = thresholds[1:], passed[1:], 1 - accepted[1:]
    worst = np.zeros(len(thresholds))
    for species in ("print", "replay"):
        rows = labelled.species_N == species
        rates = [weights[rows & (labelled.score_N >= one)].sum() / weights[rows].sum() for one in thresholds]
        worst = np.maximum(worst, rates)
    made, left_out = points(labelled, Costs(attack_passes=5, live_refused=1, prevalence=0.2), TARGETS)
    by_name = {point.name: point for point in made}
    assert left_out == {}
    assert by_name["eer"].threshold == thresholds[np.argmin(np.abs(passed - refused))]
    for name in ("apcer10", "apcer5"):
        assert by_name[name].threshold == thresholds[worst <= TARGETS[name] + 1e-12].min()
    for name in ("bpcer10", "bpcer5"):
        assert by_name[name].threshold == thresholds[refused <= TARGETS[name] + 1e-12].max()
    cost = 0.2 * 5 * worst + 0.8 * refused
    chosen = by_name[""]
    assert 0.2 * 5 * chosen.own_apcer + 0.8 * chosen.own_bpcer == pytest.approx(cost.min())
    assert made[0] is chosen


def test_rates_are_of_people_whom_the_threshold_was_not_chosen_on():
    # Of pure noise, a threshold that looks better than chance is luck: on others the two rates add up to one.
    random, people, own, others = np.random.default_rng(5), [f"p{k}" for k in range(40)], [], []
    for _ in range(10):
        noise = Scores(random.random(80), np.array(["live"] * 40 + ["print"] * 40), np.array(people * 2))
        chosen = points(noise, Costs(), {})[0][0]
        own.append(chosen.own_apcer + chosen.own_bpcer)
        others.append(chosen.worst[1].share + chosen.bpcer.share)
    assert np.mean(own) < 0.92
    assert np.mean(others) == pytest.approx(1, abs=0.06)


def test_cost_moves_the_threshold(labelled):
    lax, strict = (points(labelled, Costs(attack_passes=cost), {})[0][0].threshold for cost in (0.1, 10))
    assert lax < strict


def test_points_that_the_people_do_not_allow_say_how_many_it_takes(labelled):
    made, left_out = points(labelled, Costs(), {"apcer1": 0.01, "bpcer1": 0.01})
    assert [point.name for point in made] == ["", "eer"]
    assert "it takes 99 people of every attack species" in left_out["apcer1"]
    assert "it takes 99 live people" in left_out["bpcer1"]


def test_a_species_of_nine_people_is_refused_and_one_of_ten_is_not(labelled):
    few = labelled.part((labelled.species_N != "print") | np.isin(labelled.person_N, [f"p{k}" for k in range(9)]))
    with pytest.raises(TooFewPeopleError, match=r"print show 9 people, and it takes 10: .* could still be 34 %"):
        check_labelled(few)
    check_labelled(
        labelled.part((labelled.species_N != "print") | np.isin(labelled.person_N, [f"p{k}" for k in range(10)]))
    )
    nobody = labelled.part((labelled.species_N != "live") | np.isin(labelled.person_N, [f"p{k}" for k in range(19)]))
    with pytest.raises(TooFewPeopleError, match=r"19 live people.*takes 20"):
        check_labelled(nobody)


def test_no_error_among_thirty_is_not_no_error():
    assert (Rate.of(0, 30).share, Rate.of(0, 30).high) == (0, pytest.approx(0.1157, abs=1e-4))


def test_attacks_to_expect_come_from_the_best_that_the_bundle_knows(live_bundle):
    manifest = read_manifest(live_bundle)
    # Its operating points are 0.5 with an APCER of 10 %, and 0.9999 with 1 %.
    assert expected_apcer(manifest, Endpoint.PHOTO, 0.4).apcer == 1
    assert expected_apcer(manifest, Endpoint.PHOTO, 0.7).apcer == 0.1
    shares = [0.1 * k for k in range(1, 10)] + [0.9] * 10
    scores = {label: {"count": 50, "shares": shares} for label in ("live", "spoof")}
    with_scores = type(manifest).model_validate({**manifest.model_dump(), "reference_scores": {"photo": scores}})
    assert expected_apcer(with_scores, Endpoint.PHOTO, 0.10).apcer == pytest.approx(0.9)  # above 0.05, and maybe at 0.1
    assert expected_apcer(with_scores, Endpoint.PHOTO, 0.12).apcer == pytest.approx(0.8)
    quantiles = {"print": (0.0, 0.1, 0.2), "replay": (0.2, 0.6, 1.0)}
    attacks = {name: AttackScores(count=3, people=3, quantiles=values) for name, values in quantiles.items()}
    known = with_scores.model_copy(update={"reference_attacks": ReferenceAttacks(scored_by="a test", photo=attacks)})
    found = expected_apcer(known, Endpoint.PHOTO, 0.15)
    assert (found.source, found.attacks) == ("reference_attacks", 6)
    assert found.species == {"print": pytest.approx(0.25), "replay": 1}
    assert found.apcer == 1
    assert expected_apcer(known, Endpoint.PHOTO, 1.0).species == {"print": 0, "replay": 0}


def test_folders_are_people_and_files_beside_them_too(tmp_path):
    for name in ("ann/1.jpg", "ann/deep/2.jpg", "bob/1.jpg", "alone.jpg", ".hidden/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [case.person for case in read_folder(tmp_path)] == ["alone.jpg", "ann", "ann", "bob"]
    with pytest.raises(CalibrationError, match="no such folder"):
        read_folder(tmp_path / "nowhere")


def test_an_index_of_training_is_an_index_here(tmp_path):
    index = tmp_path / "index.csv"
    index.write_text(
        "path,domain,label,attack,subject,sequence\na/1.jpg,lobby,live,live,ann,\n2.jpg,lobby,spoof,print,ann,\n"
        "3.jpg,lobby,spoof,replay,,\n",
        encoding="utf-8-sig",
    )
    first, second, third = read_index(index)
    assert (first.path, first.person, first.species) == (str(tmp_path / "a/1.jpg"), "lobby/ann", "live")
    assert (second.person, second.species) == ("lobby/ann", "print")
    assert third.person == "lobby/3.jpg"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label,species\n", "lacks subject"),
        ("path,label,subject\n", "lacks species"),
        ("path,label,species,subject\n", "no rows"),
        ("path,label,species,subject\na,live,print,x\n", "line 2: label live and species 'print'"),
        ("path,label,species,subject\na,spoof,,x\n", "an attack needs its species"),
        ("path,label,species,subject\na,real,live,x\n", "label is 'real'"),
        ("path,label,species,subject\na,live\n", "line 2: it has not as many fields"),
    ],
)
def test_a_faulty_index_says_where(tmp_path, text, said):
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(CalibrationError, match=said):
        read_index(tmp_path / "index.csv")


def test_copies_count_once_and_contradictions_are_refused():
    answer = Answer(Endpoint.PHOTO, 0.5)
    same = [Judged(Case(name, "ann"), answer, "0" * 64) for name in ("a", "b")]
    assert without_copies(same) == ([same[0]], 1)
    other = Judged(Case("c", "bob"), answer, "0" * 64)
    with pytest.raises(CalibrationError, match="c has the same content as a"):
        without_copies([*same, other])
    assert data_hash(same[:1]) == data_hash(same[1:])  # wherever the files lie
    assert data_hash(same[:1]) != data_hash([other])


def test_photos_and_clips_have_thresholds_of_their_own_and_too_few_of_one_are_told(live_bundle, tmp_path):
    make_tiny_bundle(tmp_path / "clips", temporal=True)
    manifest = read_manifest(tmp_path / "clips")

    def answers(endpoint, people, lowest):
        for k in range(people):
            score = lowest + (1 - lowest) * k / people
            yield Judged(Case(f"{endpoint}{k}", f"p{k}"), Answer(endpoint, score), f"{endpoint} {k}")

    wanted, now = Wanted("lobby", "people"), datetime(2026, 1, 1, tzinfo=UTC)
    photos = list(answers(Endpoint.PHOTO, 30, 0.3))
    both = conclude([*photos, *answers(Endpoint.CLIP, 20, 0.6)], manifest, wanted, now)
    assert [part.threshold for part in both.parts] == [0.3, 0.6]
    made = calibrated(manifest, "lobby", *(operating_points(both, kind) for kind in Endpoint), "lobby", now)
    assert made.temporal.operating_points["lobby"].calibration.live_people == 20
    few = conclude([*photos, *answers(Endpoint.CLIP, 19, 0.6)], manifest, wanted, now)
    assert [part.endpoint for part in few.parts] == [Endpoint.PHOTO]
    assert "clips: 19 live people have a score" in few.too_few[Endpoint.CLIP]
    with pytest.raises(TooFewPeopleError, match="clips: 19"):
        conclude(list(answers(Endpoint.CLIP, 19, 0.6)), manifest, wanted, now)
    # A bundle for photos alone calibrates photos alone.
    (alone,) = conclude([*photos, *answers(Endpoint.CLIP, 20, 0.6)], read_manifest(live_bundle), wanted, now).parts
    assert alone.endpoint is Endpoint.PHOTO
    nothing = [Judged(Case("a", "ann"), Answer(Endpoint.PHOTO, None, ("no_face",)), "0" * 64)]
    with pytest.raises(CalibrationError, match=r"none of 1 files has a score: no_face \(1\)"):
        conclude(nothing, manifest, wanted, now)
