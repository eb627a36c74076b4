from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.errors import InvalidRequest, ModelNotFound, NotReady, StartupError
from service.registry import Registry, State
from service.repository import ModelFile


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


@pytest.mark.parametrize("state", [State.LOADING, State.DRAINING, State.FAILED])
def test_model_that_is_not_ready_does_not_serve(state: State) -> None:
    models = registry("a/1")
    ready(models, 1)
    models.models[0].state = state
    with pytest.raises(NotReady, match=f"model a version 1 is {state.value}"):
        models.models[0].serving()
    assert not models.is_ready


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
