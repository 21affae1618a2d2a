"""The roles and their changes, with engines in memory; over HTTP and with real bundles see api/test_operations.py."""

import asyncio

import pytest

from liveness_service.errors import ModelRefusedError, ModelUnavailableError, NoPreviousModelError
from liveness_service.observability.metrics import Metrics
from liveness_service.registry.assignment import Assignment, AssignmentFile
from liveness_service.registry.registry import ModelRegistry
from liveness_service.registry.shadow import ShadowRunner
from support.fakes import renamed

pytestmark = pytest.mark.anyio


@pytest.fixture
async def begun(source):
    """Begin registries with these roles; they are closed in the end."""
    made = []

    async def begin(path=None, **roles):
        metrics = Metrics()
        registry = ModelRegistry(source, AssignmentFile(path, Assignment(**roles)), metrics, ShadowRunner(metrics))
        registry.metrics = metrics
        made.append(registry)
        await registry.begin()
        return registry

    yield begin
    for registry in made:
        await registry.close()


def versions(registry):
    return {role: engine.manifest.version for role, engine in registry.roles.by_role()}


async def stopped(engine):
    """Whether an engine takes nothing any more, once what is due had its turn."""
    for _ in range(5):
        await asyncio.sleep(0)
    return engine._batcher._closed


async def test_before_it_began_nobody_decides(source):
    metrics = Metrics()
    registry = ModelRegistry(source, AssignmentFile(None, Assignment()), metrics, ShadowRunner(metrics))
    assert registry.fault.reason == "not loaded yet"
    with pytest.raises(ModelUnavailableError, match="not loaded yet"):
        registry.choose("any")
    await registry.close()
    assert source.closed


async def test_it_begins_with_the_roles_that_are_wanted(begun, source):
    registry = await begun(active="first", canary="second", canary_share=0.5, shadow="clips", shadow_share=1.0)
    assert registry.fault is None
    assert versions(registry) == {"active": "1", "canary": "2", "shadow": "clips"}
    assert source.started == [("first", False), ("second", False), ("clips", True)]
    await registry.close()
    assert source.closed
    for engine in source.engines:
        assert engine._batcher._closed


async def test_without_the_active_bundle_there_is_a_fault_that_every_request_hears(begun):
    registry = await begun(active="nothing", shadow="second")
    assert (registry.fault.file, registry.roles.active) == ("nothing", None)
    assert versions(registry) == {}
    for _ in range(2):
        with pytest.raises(ModelUnavailableError) as raised:
            registry.choose("any")
        assert raised.value.members == {"file": "nothing", "reason": registry.fault.reason}


async def test_without_the_others_it_begins_all_the_same(begun, source):
    registry = await begun(active="clips", canary="first", canary_share=0.5, shadow="nothing", shadow_share=1.0)
    assert registry.fault is None
    assert versions(registry) == {"active": "clips"}
    # The canary is sound and would not answer clips: it was started, and is stopped again.
    [_, canary] = source.engines
    assert await stopped(canary)


async def test_activate_and_roll_back(begun, source):
    registry = await begun(active="first")
    await registry.activate("second")
    assert versions(registry) == {"active": "2", "previous": "1"}
    assert registry.choose("any").reference == "second"
    await registry.roll_back()
    assert versions(registry) == {"active": "1", "previous": "2"}
    assert source.loaded == ["first", "second"]  # going back loads nothing
    await registry.activate("clips")
    assert versions(registry) == {"active": "clips", "previous": "1"}
    assert await stopped(source.engines[1])
    assert not await stopped(source.engines[0])


async def test_there_is_nothing_to_go_back_to_at_first(begun):
    registry = await begun(active="first")
    with pytest.raises(NoPreviousModelError):
        await registry.roll_back()


async def test_what_is_active_already_is_not_loaded_again_and_does_not_become_its_own_predecessor(begun, source):
    registry = await begun(active="first")
    await registry.activate("second")
    await registry.activate("second")
    assert versions(registry) == {"active": "2", "previous": "1"}
    assert source.loaded == ["first", "second"]


async def test_a_bundle_that_changed_under_its_name_is_loaded_anew(begun, source):
    registry = await begun(active="first")
    source.bundles["first"] = renamed(source.bundles["first"], version="1.1", manifest_sha256="9" * 64)
    await registry.activate("first")
    assert versions(registry) == {"active": "1.1", "previous": "1"}


async def test_one_bundle_may_decide_and_look_on_in_engines_of_their_own(begun, source):
    registry = await begun(active="first")
    await registry.set_shadow("first", 1.0)
    assert source.started == [("first", False), ("first", True)]
    await registry.end_shadow()
    assert await stopped(source.engines[1])
    assert not await stopped(source.engines[0])


@pytest.mark.parametrize("change", ["activate", "set_canary"])
@pytest.mark.parametrize(("reference", "named"), [("fewer", "strict"), ("first", "clips")])
async def test_a_bundle_that_answers_less_is_refused_and_stopped(begun, source, change, reference, named):
    active = "clips" if reference == "first" else "first"
    registry = await begun(active=active)
    before = versions(registry)
    arguments = [reference] if change == "activate" else [reference, 0.5]
    with pytest.raises(ModelRefusedError, match=named):
        await getattr(registry, change)(*arguments)
    assert versions(registry) == before
    assert await stopped(source.engines[-1])
    await registry.activate(reference, force=True)
    assert registry.active().reference == reference


async def test_a_fault_of_a_new_bundle_is_a_refusal_and_changes_nothing(begun):
    registry = await begun(active="first")
    changes = [registry.activate("nothing"), registry.set_canary("nothing", 0.5), registry.set_shadow("nothing", 1)]
    for change in changes:
        with pytest.raises(ModelRefusedError) as raised:
            await change
        assert raised.value.members == {"file": "nothing", "reason": "there is no bundle of this name"}
    assert versions(registry) == {"active": "1"}
    assert registry.fault is None


async def test_without_a_store_there_is_nothing_to_choose(begun, source):
    source.has_store = False
    registry = await begun()
    with pytest.raises(ModelRefusedError, match="LIVENESS_MODELS_URL"):
        await registry.activate("second")


async def test_a_canary_decides_for_its_share_and_ends_when_it_becomes_the_rule(begun):
    registry = await begun(active="first")
    await registry.set_canary("second", 0.5)
    ids = [f"request-{number}" for number in range(400)]
    chosen = [registry.choose(ident).reference for ident in ids]
    assert chosen == [registry.choose(ident).reference for ident in ids]
    assert 150 < chosen.count("second") < 250
    assert registry.role_of(registry.roles.canary.engine) == "canary"
    await registry.activate("second")
    assert versions(registry) == {"active": "2", "previous": "1"}
    assert {registry.choose(ident).reference for ident in ids} == {"second"}


async def test_an_ended_canary_is_stopped_once_nobody_uses_it(begun, source):
    registry = await begun(active="first")
    await registry.set_canary("second", 1.0)
    canary = registry.choose("any")
    with canary.in_use():
        await registry.end_canary()
        assert registry.choose("any").reference == "first"
        assert registry.role_of(canary) == "active"  # it decided on a request that is still in work
        assert not await stopped(canary)
    assert await stopped(canary)


async def test_a_change_that_cannot_be_kept_is_not_made(begun, source, tmp_path):
    registry = await begun(tmp_path / "missing" / "roles.json", active="first")
    with pytest.raises(ModelRefusedError, match="LIVENESS_MODELS_STATE"):
        await registry.activate("second")
    assert versions(registry) == {"active": "1"}
    assert await stopped(source.engines[-1])


async def test_a_change_outlives_a_restart(begun, tmp_path):
    path = tmp_path / "roles.json"
    registry = await begun(path, active="first")
    await registry.activate("second")
    await registry.set_shadow("clips", 0.25)
    again = await begun(path, active="first")
    assert versions(again) == {"active": "2", "shadow": "clips"}
    assert again.roles.shadow.share == 0.25


async def test_a_damaged_file_of_roles_is_a_fault_that_names_it(begun, tmp_path):
    path = tmp_path / "roles.json"
    path.write_text("{")
    registry = await begun(path, active="first")
    assert registry.fault.file == str(path)
    assert "LIVENESS_MODELS_STATE" in registry.fault.reason
    with pytest.raises(ModelUnavailableError):
        registry.active()


async def test_changes_that_are_asked_for_at_once_are_made_one_after_the_other(begun):
    registry = await begun(active="first")
    await asyncio.gather(registry.activate("second"), registry.set_canary("clips", 0.5), registry.activate("clips"))
    assert versions(registry) == {"active": "clips", "previous": "2"}


async def test_the_metrics_say_who_has_which_role(begun):
    registry = await begun(active="first")
    await registry.activate("second")

    def has(version, role):
        labels = {"name": "tiny", "version": version, "precision": "fp32", "provider": "cpu", "role": role}
        return registry.metrics.registry.get_sample_value("liveness_model_info", labels)

    assert (has("2", "active"), has("1", "previous"), has("1", "active")) == (1, 1, None)


async def test_the_store_is_listed(begun):
    registry = await begun(active="first")
    assert {found.name for found in await registry.available()} == {"None", "first", "second", "fewer", "clips"}
