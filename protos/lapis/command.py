"""What every Lapis command shares: one settings class per command, and errors told in one line.

A setting is written once, as a field of a `CommandSettings` subclass. The field is the command-line flag, the
environment variable, the YAML key (`--config FILE`) and the line of `--help`; of several sources the first named here
wins.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_args

import yaml
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliPositionalArg,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic.fields import FieldInfo

USAGE_ERROR = 2
_POSITIONAL = get_args(CliPositionalArg)[1]  # what the library marks positional arguments with


class CommandSettings(BaseSettings):
    """Base of a command's settings; a subclass sets `env_prefix` and documents every field.

    Prefixes name the command (`LAPIS_SERVE_`), because Kubernetes injects `LAPIS_PORT=tcp://…` beside a Service called
    `lapis`.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    config: Path | None = Field(None, description="YAML file with any of these settings; flags and environment win")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (the library's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Puts the YAML file last, so that it may be named by a flag or by the environment."""
        return init_settings, env_settings, _ConfigFile(settings_cls)


class _ConfigFile(PydanticBaseSettingsSource):
    """Reads the file that a stronger source named as `config`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Is abstract in the base and not used: the file is read whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        path = self.current_state.get("config")
        if not path:
            return {}
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SettingsError(f"--config {path}: {' '.join(str(error).split())}") from error
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise SettingsError(f"--config {path}: must hold settings as `name: value` lines")
        return {str(key).replace("-", "_"): value for key, value in content.items()}


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line with one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


S = TypeVar("S", bound=CommandSettings)


def run(
    prog: str,
    settings_class: type[S],
    command: Callable[[S], int],
    errors: tuple[type[Exception], ...],
    arguments: Sequence[str] | None = None,
    *,
    extra: str = "",
) -> NoReturn:
    """Reads the settings, runs the command and exits with what it returns.

    Wrong settings, and any of `errors` that the command raises, end it with one line per error and exit code 2; so does
    a module that is not installed, where `extra` names the extra of the distribution `lapis` that brings it.
    """
    settings = read(prog, settings_class, arguments)
    try:
        code = command(settings)
    except errors as error:
        sys.exit(_complain(prog, [str(error)]))
    except ModuleNotFoundError as error:
        if not extra:
            raise
        sys.exit(_complain(prog, [f"{error.name} is not installed; {prog} needs pip install 'lapis[{extra}]'"]))
    except BrokenPipeError:  # the reader of our output went away, as in `| head`
        code = 1
    sys.exit(code)


def read(prog: str, settings_class: type[S], arguments: Sequence[str] | None = None) -> S:
    """Returns the settings from flags, environment and file; exits with code 2 where they are wrong."""
    # Flags are shown in full width: a help text is read, not measured.
    parser = _Parser(prog=prog, description=settings_class.__doc__, allow_abbrev=False)
    parser.add_argument(
        "--version", action="version", version=f"{prog} {version('lapis-client')}", help="show the version"
    )
    source: CliSettingsSource[Any] = CliSettingsSource(settings_class, root_parser=parser)
    given = parser.parse_args(arguments)
    try:
        names = _positional_lists(settings_class, given)
        return settings_class(_cli_settings_source=source(parsed_args=given), **names)
    except SettingsError as error:
        sys.exit(_complain(prog, [str(error)]))
    except ValidationError as error:
        sys.exit(_complain(prog, [_sentence(dict(detail)) for detail in error.errors()]))


def _positional_lists(settings_class: type[CommandSettings], given: argparse.Namespace) -> dict[str, Any]:
    """Takes the lists of positional arguments out of what was given, each as it stands.

    The library would read commas, quotes and brackets in them as JSON; in names of files they are only characters.
    """
    found = {
        name: getattr(given, name)
        for name, field in settings_class.model_fields.items()
        if _POSITIONAL in field.metadata and isinstance(getattr(given, name, None), list)
    }
    for name in found:
        delattr(given, name)
    return {name: values for name, values in found.items() if values}


def _sentence(detail: dict[str, Any]) -> str:
    """Turns one of pydantic's findings into `--flag: what is wrong (got …)`."""
    *subcommand, field = [part for part in detail["loc"] if isinstance(part, str)] or [""]
    flag = " ".join([*subcommand, f"--{field.replace('_', '-')}"])
    if detail["type"] == "missing":
        return f"{flag} is required"
    if detail["type"] == "extra_forbidden":
        return f"unknown setting {flag}"
    if not detail["loc"]:
        return str(detail["msg"]).removeprefix("Value error, ")
    return f"{flag}: {detail['msg'].removeprefix('Value error, ')} (got {detail['input']!r})"


def _complain(prog: str, messages: list[str]) -> int:
    for message in messages:
        print(f"{prog}: error: {message}", file=sys.stderr)
    return USAGE_ERROR
