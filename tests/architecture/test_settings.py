"""Each setting of each command is described once, and from that follow flag, variable, key and help."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import get_args

from lapis.command import CommandSettings
from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
SCRIPTS = {
    name: target
    for project in ("pyproject.toml", "protos/pyproject.toml")
    for name, target in tomllib.loads((ROOT / project).read_text())["project"]["scripts"].items()
}
MODULES = [target.partition(":")[0] for target in SCRIPTS.values()]


def all_settings() -> list[type[CommandSettings]]:
    """Returns the settings class of every command."""
    for module in MODULES:
        import_module(module)
    return list(_below(CommandSettings))


def _below(settings: type[CommandSettings]) -> Iterator[type[CommandSettings]]:
    for one in settings.__subclasses__():
        yield one
        yield from _below(one)


def models_of(settings: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yields the class and those of the groups of settings in it, to any depth."""
    yield settings
    for field in settings.model_fields.values():
        for annotation in (field.annotation, *get_args(field.annotation)):
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from models_of(annotation)


def test_every_setting_is_described() -> None:
    silent = [
        f"{model.__module__}.{model.__name__}.{name}"
        for settings in all_settings()
        for model in models_of(settings)
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert silent == []


def test_every_command_has_settings_with_a_prefix_of_its_own() -> None:
    prefixes = [settings.model_config.get("env_prefix", "") for settings in all_settings()]
    assert len(prefixes) >= len(SCRIPTS)
    assert all(prefix.startswith("LAPIS_") and prefix.endswith("_") for prefix in prefixes)
    assert len(set(prefixes)) == len(prefixes)


def test_every_command_is_its_room_s_main_module() -> None:
    assert [name for name, target in SCRIPTS.items() if not target.endswith("__main__:main")] == []
