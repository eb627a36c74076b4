from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.errors import InvalidRequest, ModelNotFound, NotReady, StartupError
from service.models.registry import ModelVersion, Registry, State
from service.models.repository import ModelFile


def registry(*places: str, default: str = "") -> Registry:
    files = [ModelFile(name, int(version), Path(place)) for place in places for name, version in [place.split("/")]]
    return Registry(files, default)


def ready(models: Registry, *versions: int) -> None:
    for model in models.models:
        if model.version in versions:
            loaded: Any = object()
            model.become_ready(loaded)


def test_highest_version_that_is_ready_serves() -> None:
    models = registry("a/1", "a/2", "a/10")
    ready(models, 1, 2)
    assert models.find("a", "").version == 2
    ready(models, 10)
    assert models.find("a", "").version == 10


def test_highest_version_stands_for_a_model_of_which_none_is_ready() -> None:
    assert registry("a/1", "a/10").find("", "").version == 10


def test_default_serves_requests_without_a_name() -> None:
    assert registry("a/1", "b/1", default="b").find("", "").name == "b"


def test_no_name_and_no_default_is_the_callers_mistake() -> None:
    with pytest.raises(InvalidRequest, match="several: a, b"):
        registry("a/1", "a/2", "b/1").find("", "")


def test_default_must_exist() -> None:
    with pytest.raises(StartupError, match="--default-model c: no such model; the repository has a, b"):
        registry("a/1", "b/1", default="c")


@pytest.mark.parametrize("version", ["2", "01", "stable", " 1"])
def test_unknown_version_is_told_the_known_ones(version: str) -> None:
    with pytest.raises(ModelNotFound, match=r"model a has no version .* it has 1, 3"):
        registry("a/1", "a/3").find("a", version)


def test_long_names_are_not_echoed_whole() -> None:
    with pytest.raises(ModelNotFound) as refused:
        registry("a/1").find("x" * 10_000, "")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("state", [state for state in State if state is not State.READY])
def test_model_that_is_not_ready_does_not_serve(state: State) -> None:
    models = registry("a/1")
    ready(models, 1)
    models.models[0].state = state
    with pytest.raises(NotReady, match=f"model a version 1 is {state.value}"):
        models.models[0].serving()
    assert models.is_ready == (state is State.UNLOADED)  # which was asked for, and is no fault


def test_draining_ends_all_but_what_has_failed() -> None:
    models = registry("a/1", "a/2", "b/1")
    ready(models, 1)
    models.find("a", "2").fail("broken")
    models.drain()
    assert [model.state for model in models.models] == [State.DRAINING, State.FAILED, State.DRAINING]


def test_model_loaded_too_late_does_not_come_back() -> None:
    models = registry("a/1")
    models.drain()
    ready(models, 1)
    assert models.models[0].state is State.DRAINING


def added(models: Registry, place: str) -> ModelVersion:
    name, version = place.split("/")
    return models.add(ModelFile(name, int(version), Path(place)))


def serve(model: ModelVersion) -> None:
    loaded: Any = object()
    model.begin_to_load()
    model.become_ready(loaded)


def test_latest_is_the_highest_that_is_ready() -> None:
    models = registry("a/1", "a/2")
    ready(models, 1)
    assert models.find("a", "latest").version == 1
    assert [models.labels(model) for model in models.models] == [["latest"], []]
    ready(models, 2)
    assert [models.labels(model) for model in models.models] == [[], ["latest"]]


def test_label_finds_its_version_whatever_its_state() -> None:
    models = registry("a/1", "a/2", "b/1")
    models.relabel("a", {"stable": 1, "gone": 7})
    ready(models, 1, 2)
    assert models.find("a", "stable").version == 1
    assert models.labels(models.find("a", "1")) == ["stable"]
    with pytest.raises(ModelNotFound, match="model a has no version 'gone'; it has 1, 2, gone, stable"):
        models.find("a", "gone")
    with pytest.raises(ModelNotFound, match="model b has no version 'stable'; it has 1"):
        models.find("b", "stable")


def test_version_that_comes_later_holds_nothing_up() -> None:
    models = registry("a/1")
    assert not models.is_ready
    ready(models, 1)
    assert models.is_ready
    models.started()
    added(models, "a/2").begin_to_load()
    newcomer = added(models, "b/1")
    newcomer.begin_to_load()
    assert models.is_ready
    serve(newcomer)
    models.require("b")
    newcomer.become_sound(sound=False)
    assert not models.is_ready, "whoever was ready once counts"
    newcomer.become_sound(sound=True)
    assert models.is_ready


def test_start_waits_for_every_version_that_is_to_be_loaded() -> None:
    models = registry("a/1", "a/2")
    ready(models, 1)
    assert not models.is_ready
    models.find("a", "2").be_unloaded()
    assert models.is_ready


def test_model_that_is_unloaded_or_gone_leaves_the_others_ready() -> None:
    models = registry("a/1", "b/1")
    ready(models, 1)
    models.find("a", "1").be_unloaded()
    assert models.is_ready
    models.remove(models.find("a", "1"))
    assert (models.is_ready, models.names) == (True, ("b",))
    assert models.find("", "").name == "b"
    models.drain()
    assert not models.is_ready


def test_versions_stay_in_order_as_they_come() -> None:
    models = registry("b/2")
    for place in ("b/10", "a/1", "b/1"):
        added(models, place)
    assert [f"{model.name}/{model.version}" for model in models.models] == ["a/1", "b/1", "b/2", "b/10"]


def test_server_without_models_says_so() -> None:
    models = registry("a/1")
    models.remove(models.models[0])
    with pytest.raises(ModelNotFound, match="the server has no models"):
        models.find("", "")
    assert not models.is_ready


def test_version_that_serves_is_not_harmed_by_a_file_that_fails() -> None:
    models = registry("a/1")
    ready(models, 1)
    model = models.models[0]
    model.begin_to_load()
    model.fail("no model")
    assert (model.state, model.failure) == (State.READY, "no model")
    serve(model)
    assert model.failure == ""
