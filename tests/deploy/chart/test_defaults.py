"""What the chart takes for granted about the service, read from the service itself."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml
from lapis.command import CommandSettings, read
from prometheus_client import CollectorRegistry

from service.delivery.settings import ModelsSettings
from service.settings import ServeSettings
from service.telemetry.instruments import Instruments
from service.trial import TrialSettings
from tests.deploy.chart.combinations import COMBINATIONS
from tests.deploy.chart.conftest import CHART
from tests.deploy.chart.references import Release

Objects: TypeAlias = Any
Manifest: TypeAlias = dict[str, Any]
Rendered: TypeAlias = Callable[[str], dict[str, Objects]]

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
BY_ITSELF = {name: field.default for name, field in ServeSettings.model_fields.items()}
COMMANDS: dict[tuple[str, ...], tuple[str, type[CommandSettings]]] = {
    (): ("lapis-serve", ServeSettings),
    ("lapis-models",): ("lapis-models", ModelsSettings),
    ("python3", "-m", "service.trial"): ("lapis-trial", TrialSettings),
}
# What the chart sets to something else than `lapis-serve` by itself, and why.
ON_PURPOSE = {
    "config": "is where the chart's settings are",
    "models": "is where the image, or a volume, has them",
    "host": "must be reached from outside the pod",
    "http_host": "must be reached from outside the pod",
    "devices": "is decided by accelerator.kind, never by what happens to work",
    "max_connection_age": "has callers find replicas that scaling and rollouts add; a server alone has no others",
    "max_connection_age_grace": "is drainSeconds, so that nothing outlasts the pod",
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LAPIS_")]:
        monkeypatch.delenv(name)


@dataclass(frozen=True)
class Command:
    """A container's command line, and the settings file that it is given."""

    container: Manifest
    settings: str

    def taken(self, folder: Path) -> CommandSettings:
        """Reads both as the command does."""
        config = folder / "lapis.yaml"
        config.write_text(self.settings)
        command = self.container.get("command", [])
        program = tuple(command[:1] if command[:1] == ["lapis-models"] else command)
        arguments = [*command[len(program) :], *self.container["args"]]
        return read(*COMMANDS[program], [flag.replace("/etc/lapis/lapis.yaml", str(config)) for flag in arguments])


def commands(objects: Objects) -> Iterator[Command]:
    """Those of the chart's own containers; what is under `extra` is somebody else's."""
    files = {item["metadata"]["name"]: item["data"].get("lapis.yaml", "") for item in objects.of("ConfigMap")}
    for pod in Release(objects.all).pods:
        given = [volume["configMap"]["name"] for volume in pod.spec["volumes"] if "configMap" in volume]
        settings = "".join(files.get(name, "") for name in given)
        yield from (Command(one, settings) for one in pod.containers if one["name"] not in {"sidecar", "first"})


@pytest.mark.parametrize("name", COMBINATIONS)
def test_commands_take_their_flags_and_settings(rendered: Rendered, tmp_path: Path, name: str) -> None:
    taken = [command.taken(tmp_path) for command in commands(rendered(name)["1.33"])]

    assert any(isinstance(one, ServeSettings) for one in taken)


def test_commands_refuse_other_flags(
    render: Callable[..., Objects], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = render({"model": {"source": "download", "download": {"url": "s3://bucket/models"}}})

    for command in commands(objects):
        worse = {**command.container, "args": [*command.container["args"], "--surprise=1"]}
        with pytest.raises(SystemExit):
            Command(worse, command.settings).taken(tmp_path)
        assert "--surprise" in capsys.readouterr().err


def test_commands_refuse_other_settings(
    render: Callable[..., Objects], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (server,) = [command for command in commands(render()) if command.container["name"] == "lapis"]

    with pytest.raises(SystemExit):
        Command(server.container, "surprise: 1").taken(tmp_path)
    assert "surprise" in capsys.readouterr().err


def test_variables_are_none_of_the_services(rendered: Rendered) -> None:
    """They would win over the settings file, and nobody would see why."""
    for name in COMBINATIONS:
        for command in commands(rendered(name)["1.33"]):
            names = [one["name"] for one in command.container.get("env", [])]
            assert not [name for name in names if name.startswith("LAPIS_")]


def test_what_the_chart_sets_is_the_services_own_or_set_on_purpose(
    render: Callable[..., Objects], tmp_path: Path
) -> None:
    (server,) = [command for command in commands(render()) if command.container["name"] == "lapis"]

    taken = server.taken(tmp_path)

    assert {name for name, value in BY_ITSELF.items() if getattr(taken, name) != value} == ON_PURPOSE.keys()


def test_ports_are_the_services(render: Callable[..., Objects]) -> None:
    wanted = {"grpc": BY_ITSELF["port"], "http": BY_ITSELF["http_port"]}
    objects = render({"service": {"port": 443, "httpPort": 80}})

    (container,) = objects.one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == wanted
    assert container["livenessProbe"]["grpc"]["port"] == wanted["grpc"]
    assert objects.one("Service", "-headless")["spec"]["ports"][0]["port"] == wanted["grpc"]
    assert {"grpc": VALUES["service"]["port"], "http": VALUES["service"]["httpPort"]} == wanted


def test_requests_in_hand_have_the_services_own_time(render: Callable[..., Objects]) -> None:
    assert VALUES["rollout"]["drainSeconds"] == BY_ITSELF["grace_period"]
    seconds = render().one("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert seconds > VALUES["rollout"]["endpointDelay"] + BY_ITSELF["grace_period"]


def test_alerts_know_the_services_own_bounds() -> None:
    """What a replica holds at most, where settings say nothing of it."""
    template = (CHART / "templates/_rules.tpl").read_text()
    listed = re.search(r"\$defaults := dict (.*?) -}}", template)
    assert listed

    bounds = {name: int(value) for name, value in re.findall(r'"(\w+)" (\d+)', listed[1])}

    assert len(bounds) == 5
    assert bounds == {name: BY_ITSELF[name] for name in bounds}


def test_objectives_know_the_histograms_own_bounds() -> None:
    template = (CHART / "templates/_rules.tpl").read_text()
    listed = re.search(r'range list ("0\.001".*?) -}}', template)
    assert listed

    bounds = re.findall(r'"([\d.]+)"', listed[1])

    registry = CollectorRegistry()
    Instruments(registry).request_seconds.labels("Translate", "facades", "3", "OK").observe(1)
    (family,) = [family for family in registry.collect() if family.name == "lapis_request_seconds"]
    told = [sample.labels["le"] for sample in family.samples if "le" in sample.labels]
    assert [*bounds, "+Inf"] == told
