from liveness_service.registry.assignment import Assignment
from liveness_service.registry.roles import Roles, falls_into


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
