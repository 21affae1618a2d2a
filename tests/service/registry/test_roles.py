from dataclasses import replace

import pytest

from liveness_service.registry.assignment import Assignment, AssignmentFile, RoleStateError
from liveness_service.registry.roles import Roles, falls_into
from liveness_service.settings import Settings


def test_a_share_is_met_stable_and_independent_between_purposes():
    ids = [f"request-{number}" for number in range(4000)]
    canary = [falls_into(0.2, ident, "canary") for ident in ids]
    assert canary == [falls_into(0.2, ident, "canary") for ident in ids]
    assert abs(sum(canary) / len(ids) - 0.2) < 0.03
    both = sum(one and falls_into(0.5, ident, "shadow") for one, ident in zip(canary, ids, strict=True))
    assert abs(both / sum(canary) - 0.5) < 0.08


def test_a_share_that_grows_keeps_whom_it_had():
    ids = [f"request-{number}" for number in range(500)]
    small = {ident for ident in ids if falls_into(0.1, ident, "canary")}
    assert small < {ident for ident in ids if falls_into(0.3, ident, "canary")}


def test_nobody_and_everybody_are_shares_too():
    ids = [f"request-{number}" for number in range(200)]
    assert not any(falls_into(0.0, ident, "canary") for ident in ids)
    assert all(falls_into(1.0, ident, "canary") for ident in ids)


def test_without_engines_no_role_is_filled():
    assert Roles().by_role() == []
    assert Roles().engines() == set()
    assert Roles().assignment() == Assignment()


WANTED = Assignment("first", "second", 0.05)
CHANGED = Assignment("second", None, 0.0, "third", 0.25)


def test_the_settings_give_no_share_to_a_role_that_they_do_not_fill():
    assert Assignment.of_settings(Settings()) == Assignment()
    wanted = Assignment.of_settings(Settings(active_model="first", canary_model="second", canary_share=0.3))
    assert wanted == Assignment("first", "second", 0.3)


def test_what_was_kept_is_read_again(tmp_path):
    file = AssignmentFile(tmp_path / "roles.json", WANTED)
    assert file.read() == WANTED
    file.write(CHANGED)
    assert AssignmentFile(tmp_path / "roles.json", WANTED).read() == CHANGED
    assert [path.name for path in tmp_path.iterdir()] == ["roles.json"]


def test_settings_that_changed_since_are_the_newer_decision(tmp_path):
    AssignmentFile(tmp_path / "roles.json", WANTED).write(CHANGED)
    newer = replace(WANTED, canary_share=0.5)
    assert AssignmentFile(tmp_path / "roles.json", newer).read() == newer


def test_without_a_file_nothing_is_kept():
    file = AssignmentFile(None, WANTED)
    file.write(CHANGED)
    assert file.read() == WANTED


@pytest.mark.parametrize("content", ["{", '{"roles": 1}', ""])
def test_a_damaged_file_is_not_guessed_at(tmp_path, content):
    (tmp_path / "roles.json").write_text(content)
    with pytest.raises(RoleStateError, match="LIVENESS_MODELS_STATE"):
        AssignmentFile(tmp_path / "roles.json", WANTED).read()


def test_a_file_that_cannot_be_written_keeps_what_it_said(tmp_path):
    file = AssignmentFile(tmp_path / "roles.json", WANTED)
    file.write(CHANGED)
    (tmp_path / ".roles.json.new").mkdir()
    with pytest.raises(RoleStateError, match="cannot be written"):
        file.write(WANTED)
    assert file.read() == CHANGED
