from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveness_training.data.protocols import assign_splits, make_protocol
from liveness_training.data.samples import DataError, Sample, read_index


def people(domain, count, split=None, species=("print",), live=True, per_person=2):
    """Samples of `count` people, each with live pictures and with attacks of each species."""
    samples = []
    prefix = split or "p"  # nobody is in two splits
    for person in range(count):
        for species_ in (*(["live"] if live else []), *species):
            for number in range(per_person):
                path = f"{domain}/{prefix}{person}/{species_}{number}.jpg"
                samples.append(Sample(path, domain, species_ == "live", species_, f"{prefix}{person}", "", split))
    return samples


def splits_of_subjects(samples):
    found = defaultdict(set)
    for sample, split in zip(samples, assign_splits(samples), strict=True):
        found[sample.domain, sample.subject].add(split)
    return found


def parts_of(protocol, samples):
    """Subjects of each part."""
    rows = {name: part.rows for name, part in protocol.reports.items()}
    rows |= {"train": protocol.train, "dev": protocol.dev}
    return {name: {(samples[row].domain, samples[row].subject) for row in part} for name, part in rows.items()}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.booleans(), st.integers(0, 5)),
        max_size=60,
        unique=True,
    )
)
def test_no_subject_is_in_two_splits(drawn):
    samples = [
        Sample(f"{domain}/x/{subject}/{live}{number}.jpg", domain, live, "live" if live else "print", str(subject), "")
        for domain, subject, live, number in drawn
    ]
    assert all(len(splits) == 1 for splits in splits_of_subjects(samples).values())


def test_about_55_15_and_30_percent_of_the_people_train_choose_thresholds_and_test():
    splits = [split for [split] in splits_of_subjects(people("office", 2000)).values()]
    assert splits.count("train") / 2000 == pytest.approx(0.55, abs=0.04)
    assert splits.count("dev") / 2000 == pytest.approx(0.15, abs=0.03)
    assert splits.count("test") / 2000 == pytest.approx(0.30, abs=0.04)


def test_split_does_not_move_when_pictures_are_added():
    before = people("office", 40)
    after = [*people("hall", 40, species=("replay",)), *people("office", 60, per_person=3)]
    assert set(before) <= set(after)
    splits = dict(zip(after, assign_splits(after), strict=True))
    assert [splits[sample] for sample in before] == assign_splits(before)


def test_people_of_the_same_name_are_drawn_for_each_domain():
    splits = splits_of_subjects([*people("office", 60), *people("hall", 60)])
    assert any(splits["office", f"p{person}"] != splits["hall", f"p{person}"] for person in range(60))


def test_splits_that_the_samples_come_with_are_kept():
    samples = [*people("set", 40, "train"), *people("set", 5, "dev"), *people("set", 5, "test")]
    assert assign_splits(samples) == [sample.split for sample in samples]


def test_set_without_a_development_split_takes_people_from_its_training_split():
    samples = [*people("set", 60, "train"), *people("set", 60, "test")]
    splits = assign_splits(samples)
    found = defaultdict(set)
    for sample, split in zip(samples, splits, strict=True):
        found[sample.split].add(split)
    assert found == {"train": {"train", "dev"}, "test": {"test"}}
    train = [sample for sample in samples if sample.split == "train"]
    assert all(len(splits) == 1 for splits in splits_of_subjects(train).values())


def test_parts_share_no_person_and_cover_the_trained_domains():
    samples = [*people("office", 60), *people("hall", 60, species=("replay", "print"))]
    protocol = make_protocol(samples, [])
    parts = parts_of(protocol, samples)
    assert not parts["train"] & parts["dev"]
    assert not (parts["train"] | parts["dev"]) & parts["test"]
    assert sorted([*protocol.train, *protocol.dev, *protocol.reports["test"].rows]) == list(range(len(samples)))
    assert list(protocol.reports) == ["test", "test/hall", "test/office"]
    by_domain = protocol.reports["test/hall"].rows + protocol.reports["test/office"].rows
    assert sorted(by_domain) == sorted(protocol.reports["test"].rows)
    assert all(samples[row].domain == "hall" for row in protocol.reports["test/hall"].rows)


def test_held_out_domain_is_reported_whole_and_never_trained_on():
    samples = [*people("office", 60), *people("hall", 60), *people("held", 10, "train"), *people("held", 10, "dev")]
    protocol = make_protocol(samples, [], ["held"])
    held = [row for row, sample in enumerate(samples) if sample.domain == "held"]
    assert not set(held) & {*protocol.train, *protocol.dev, *protocol.reports["test"].rows}
    assert list(protocol.reports["held_out/held"].rows) == held
    assert "test/held" not in protocol.reports


def test_domain_without_attacks_serves_nothing():
    samples = [*people("office", 60), *people("album", 60, species=())]
    protocol = make_protocol(samples, [])
    rows = {*protocol.train, *protocol.dev, *(row for part in protocol.reports.values() for row in part.rows)}
    assert {samples[row].domain for row in rows} == {"office"}
    assert list(protocol.reports) == ["test", "test/office"]


def test_domain_without_live_pictures_serves_nothing():
    samples = [*people("office", 60), *people("screens", 60, live=False)]
    protocol = make_protocol(samples, [])
    assert {samples[row].domain for row in protocol.train} == {"office"}


def test_person_in_two_splits_is_refused_by_name():
    samples = [*people("hall", 9, "train"), *people("hall", 9, "test")]
    samples.append(Sample("hall/train3/again.jpg", "hall", True, "live", "train3", "", "test"))
    with pytest.raises(DataError, match="hall: pictures of 'train3' are in two splits, train and test"):
        make_protocol(samples, [])


def test_rows_count_the_found_and_missed_pictures_are_kept_beside_them():
    samples = [*people("office", 60), *people("held", 10)]
    missed, found = samples[::3], [sample for row, sample in enumerate(samples) if row % 3]
    protocol = make_protocol(found, missed, ["held"])
    held = protocol.reports["held_out/held"]
    assert [found[row] for row in held.rows] == [sample for sample in found if sample.domain == "held"]
    assert list(held.missed) == [sample for sample in missed if sample.domain == "held"]
    test = protocol.reports["test"]
    splits = dict(zip(samples, assign_splits(samples), strict=True))
    assert list(test.missed) == [s for s in missed if s.domain == "office" and splits[s] == "test"]
    assert {found[row] for row in test.rows} == {s for s in found if s.domain == "office" and splits[s] == "test"}


def test_several_domains_are_held_out_and_each_is_reported_whole():
    samples = [sample for domain in "abcd" for sample in people(domain, 30)]
    missed, found = samples[::7], [sample for row, sample in enumerate(samples) if row % 7]
    protocol = make_protocol(found, missed, ["c", "a"])
    assert protocol.sources == ("b", "d")
    assert list(protocol.reports) == ["test", "test/b", "test/d", "held_out/a", "held_out/c"]
    for target in "ac":
        part = protocol.reports[f"held_out/{target}"]
        assert part.rows == tuple(row for row, sample in enumerate(found) if sample.domain == target)
        assert part.missed == tuple(sample for sample in missed if sample.domain == target)
    used = {*protocol.train, *protocol.dev, *protocol.reports["test"].rows}
    assert {found[row].domain for row in used} == {"b", "d"}


def test_limited_sources_are_trained_on_alone():
    samples = [sample for domain in "abcd" for sample in people(domain, 40)]
    protocol = make_protocol(samples, [], ["d"], sources=["b", "a"])
    assert protocol.sources == ("a", "b")
    assert {samples[row].domain for row in protocol.train} == {"a", "b"}
    assert {samples[row].domain for row in protocol.dev} == {"a", "b"}
    assert list(protocol.reports) == ["test", "test/a", "test/b", "held_out/d"]
    assert not [row for row in protocol.evaluated if samples[row].domain == "c"]  # it is neither


def test_one_source_and_no_target_is_intra_set():
    samples = [*people("a", 60), *people("b", 60)]
    protocol = make_protocol(samples, [], sources=["a"])
    assert list(protocol.reports) == ["test", "test/a"]
    rows = [*protocol.train, *protocol.dev, *protocol.reports["test"].rows]
    assert sorted(rows) == [row for row, sample in enumerate(samples) if sample.domain == "a"]


def test_all_people_of_the_sources_are_trained_on_but_those_who_set_thresholds():
    samples = [sample for domain in "abc" for sample in people(domain, 40)]
    usual, all_people = (make_protocol(samples, [], ["c"], people=which) for which in ("train", "all"))
    assert all_people.dev == usual.dev
    assert sorted(all_people.train) == sorted([*usual.train, *usual.reports["test"].rows])
    assert list(all_people.reports) == ["held_out/c"]  # nobody of the sources is left to report on
    assert all_people.reports == {"held_out/c": usual.reports["held_out/c"]}
    assert all_people.evaluated == sorted([*all_people.dev, *all_people.reports["held_out/c"].rows])


@pytest.mark.parametrize("name", ["nowhere", "album"])
def test_source_that_cannot_be_trained_on_is_refused_with_the_choices(name):
    samples = [*people("office", 40), *people("hall", 40), *people("album", 9, species=())]
    with pytest.raises(DataError, match=rf"sources: .*'{name}'.*hall, office"):
        make_protocol(samples, [], sources=["office", name])


def test_domain_that_is_source_and_target_is_refused_by_name():
    with pytest.raises(DataError, match="sources: hall is held out as well"):
        make_protocol([*people("office", 40), *people("hall", 40)], [], ["hall"], sources=["office", "hall"])


def test_evaluated_rows_are_development_and_reports_each_once():
    samples = [*people("office", 40), *people("held", 10)]
    protocol = make_protocol(samples, [], ["held"])
    expected = {*protocol.dev, *protocol.reports["test"].rows, *protocol.reports["held_out/held"].rows}
    assert protocol.evaluated == sorted(expected)
    assert not set(protocol.evaluated) & set(protocol.train)


@pytest.mark.parametrize("name", ["nowhere", "album"])
def test_held_out_domain_that_cannot_be_reported_on_is_refused_with_the_choices(name):
    with pytest.raises(DataError, match=rf"'{name}'.*hall, office"):
        make_protocol([*people("office", 40), *people("hall", 40), *people("album", 9, species=())], [], [name])


@pytest.mark.parametrize(
    ("samples", "split"),
    [
        (people("office", 40), "training"),  # nothing is left beside the held-out domain
        ([*people("office", 40), *people("hall", 40, species=("print",), live=False)], "training"),
        ([*people("office", 40), *people("hall", 40, "train", live=False), *people("hall", 9, "dev")], "training"),
        ([*people("office", 40), *people("hall", 40, "train"), *people("hall", 9, "dev", live=False)], "development"),
        ([*people("office", 40), *people("hall", 40, "train"), *people("hall", 9, "dev", species=())], "development"),
    ],
)
def test_split_without_both_labels_is_refused(samples, split):
    with pytest.raises(DataError, match=f"the {split} split lacks"):
        make_protocol(samples, [], ["office"])


def test_real_data_keeps_its_official_splits_and_counts(pad_data):
    samples = read_index(pad_data)
    assert all(len(splits) == 1 for splits in splits_of_subjects(samples).values())
    protocol = make_protocol(samples, [])
    # Official folders: 1,302 test pictures of CASIA-FASD's clients 21 to 50, 1,586 of Replay-Attack's test clients.
    assert len(protocol.reports["test/casia_fasd"].rows) == 1302
    assert len(protocol.reports["test/replay_attack"].rows) == 1586
    dev = [samples[row] for row in protocol.dev if samples[row].domain == "replay_attack"]
    assert len(dev) == 1186
    assert all("/devel/" in sample.path for sample in dev)
    casia_dev = {samples[row].path.split("/")[1] for row in protocol.dev if samples[row].domain == "casia_fasd"}
    assert casia_dev == {"train"}
    assert "lfw_gray" not in {samples[row].domain for row in (*protocol.train, *protocol.evaluated)}


@pytest.mark.parametrize(
    ("domain", "pictures"),
    [
        ("celeba_spoof", 600),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("casia_fasd", 2174), ("nuaa", 1654), ("replay_attack", 3972))
        ),
    ],
)
def test_real_domain_is_held_out_whole(pad_data, domain, pictures):
    samples = read_index(pad_data)
    protocol = make_protocol(samples, [], [domain])
    assert len(protocol.reports[f"held_out/{domain}"].rows) == pictures
    assert domain not in {samples[row].domain for row in (*protocol.train, *protocol.dev)}


def test_domains_of_live_pictures_alone_are_trained_on_where_attacks_are_simulated():
    samples = people("office", 20) + people("hall", 20) + people("web", 20, species=())
    plain = make_protocol(samples, [], ["hall"])
    assert plain.sources == ("office",)
    simulated = make_protocol(samples, [], ["hall"], live_only=True)
    assert simulated.sources == ("office", "web")
    trained = {samples[row].path for row in simulated.train}
    assert {sample.path for sample in samples if sample.domain == "web"} <= trained
    assert (simulated.dev, simulated.reports) == (plain.dev, plain.reports)
    named = make_protocol(samples, [], ["hall"], sources=["office"], live_only=True)
    assert named.sources == ("office",)
    assert make_protocol(samples, [], sources=["office", "web"], live_only=True).sources == ("office", "web")
    with pytest.raises(DataError, match="hold_out"):
        make_protocol(samples, [], ["web"], live_only=True)
