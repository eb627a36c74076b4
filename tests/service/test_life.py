"""Models that come, change, fail and go while a real server serves them; looks are made when the test says so."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import cv2
import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from lapis.v1 import translation_pb2 as pb
from structlog.testing import capture_logs

from service.errors import ModelNotFound, ModelUnusable, NotReady, StartupError
from service.registry import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.registry import ModelVersion
    from tests.service.conftest import Gate, Png, Service, Serving, WriteModel

    Proven = Callable[[str], dict[str, Any]]

BLACK, SIDE = 0, 8


def models(service: Service) -> Path:
    return service.server.settings.models


async def looks(service: Service, times: int = 2) -> None:
    """Looks until what was found has settled: a change is acted upon when the next look finds no other."""
    for _ in range(times):
        await service.server.life.look()


def states(service: Service) -> dict[str, str]:
    return {f"{model.name}/{model.version}": model.state.value for model in service.server.registry.models}


def version(service: Service, place: str) -> ModelVersion:
    name, number = place.split("/")
    found = service.server.registry.get(name, int(number))
    assert found
    return found


async def until(service: Service, place: str, state: State) -> None:
    await service.until(lambda: version(service, place).state is state)


async def answering(service: Service, png: Png, **fields: object) -> str:
    """Returns the version that answers."""
    return str((await service.translate(png(BLACK), **fields)).version)


async def metric(service: Service, line: str) -> str | None:
    """Returns the value of the metric that the line, without it, names."""
    lines = dict(one.rsplit(" ", 1) for one in (await service.get("/metrics")).text.splitlines() if one[0] != "#")
    return lines.get(line)


async def health(service: Service, name: str = "") -> int:
    stub: Any = health_pb2_grpc.HealthStub(service.channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=name))).status)


SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Callers:
    """Callers who ask without a pause, and what answered them; a refusal fails the test."""

    def __init__(self, service: Service, picture: bytes, **fields: object) -> None:
        self.answers: list[list[str]] = [[] for _ in range(8)]
        self._service, self._picture, self._fields = service, picture, fields
        self._is_enough = asyncio.Event()
        self._tasks = [asyncio.ensure_future(self._ask(answers)) for answers in self.answers]

    async def after(self, more: int) -> None:
        """Waits until each was answered so many times more."""
        wanted = [len(answers) + more for answers in self.answers]
        await self._service.until(
            lambda: (
                all(len(answers) >= least for answers, least in zip(self.answers, wanted, strict=True))
                or any(task.done() for task in self._tasks)
            )
        )

    async def end(self) -> set[str]:
        """Lets them get their last answers; returns the versions that answered."""
        self._is_enough.set()
        await asyncio.gather(*self._tasks)
        return {version for answers in self.answers for version in answers}

    async def _ask(self, answers: list[str]) -> None:
        while not self._is_enough.is_set():
            answers.append((await self._service.translate(self._picture, **self._fields)).version)


# New versions.


async def test_new_version_takes_over_under_load_and_no_request_fails(
    serving: Serving, png: Png, write_model: WriteModel
) -> None:
    async with serving({"m/1": "invert"}) as service:
        callers = Callers(service, png(BLACK))
        for number in (2, 3, 4):
            await callers.after(3)
            write_model(models(service) / f"m/{number}/model.onnx", "identity")
            await looks(service)
        await until(service, "m/3", State.UNLOADED)
        await callers.after(3)
        assert await callers.end() == {"1", "2", "3", "4"}
        assert all(answers == sorted(answers) for answers in callers.answers), "nobody goes back to an older version"
        assert states(service) == {"m/1": "unloaded", "m/2": "unloaded", "m/3": "unloaded", "m/4": "ready"}


async def test_file_replaced_in_its_place_takes_over_under_load_and_no_request_fails(
    serving: Serving, png: Png, write_model: WriteModel, tmp_path: Path
) -> None:
    async with serving({"m/1": "invert"}) as service:
        callers = Callers(service, png(BLACK), output={"format": pb.PICTURE_FORMAT_RAW})
        before = service.model
        for kind in ("identity", "invert", "identity"):
            await callers.after(3)
            write_model(tmp_path / "next.onnx", kind).replace(models(service) / "m/1/model.onnx")
            await looks(service)
        await callers.after(3)
        await callers.end()
        assert states(service) == {"m/1": "ready"}
        assert service.model is not before
        made = await service.translate(png(BLACK), output={"format": pb.PICTURE_FORMAT_RAW})
        assert set(made.tensor.data) == {BLACK}


async def test_request_in_hand_is_answered_by_the_version_that_took_it(
    serving: Serving, png: Png, write_model: WriteModel, gate: Gate
) -> None:
    async with serving({"m/1": "invert"}) as service:
        gate.close()
        taken = asyncio.ensure_future(service.translate(png(BLACK)))
        await service.until(lambda: gate.reached == [1])
        write_model(models(service) / "m/2/model.onnx", "identity")
        looking = asyncio.ensure_future(looks(service))
        await service.until(lambda: states(service).get("m/2") == "loading")
        gate.open()
        await looking
        assert (await taken).version == "1"
        await until(service, "m/1", State.UNLOADED)
        assert version(service, "m/1").loaded is None


async def test_version_asked_for_by_number_is_refused_once_it_is_unloaded(
    serving: Serving, png: Png, write_model: WriteModel
) -> None:
    async with serving({"m/1": "invert"}) as service:
        write_model(models(service) / "m/2/model.onnx")
        await looks(service)
        await until(service, "m/1", State.UNLOADED)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.translate(png(BLACK), version="1")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        listed = await service.stub.ListModels(pb.ListModelsRequest())
        assert [(one.state, list(one.labels)) for one in listed.models] == [
            (pb.MODEL_STATE_UNLOADED, []),
            (pb.MODEL_STATE_READY, ["latest"]),
        ]
        assert await metric(service, 'lapis_model_ready{model="m",version="1"}') is None
        assert await metric(service, 'lapis_model_ready{model="m",version="2"}') == "1.0"


async def test_all_versions_are_kept_where_that_is_the_policy(
    serving: Serving, png: Png, write_model: WriteModel
) -> None:
    async with serving({"m/1": "invert", "m/2": "invert"}, version_policy="all") as service:
        write_model(models(service) / "m/3/model.onnx")
        await looks(service)
        assert states(service) == {"m/1": "ready", "m/2": "ready", "m/3": "ready"}
        assert [await answering(service, png, version=one) for one in ("1", "2", "3", "")] == ["1", "2", "3", "3"]


# Files that cannot be served.


async def test_broken_version_is_reported_while_the_old_one_serves(
    serving: Serving, png: Png, write_model: WriteModel
) -> None:
    async with serving({"m/1": "invert"}) as service:
        path = models(service) / "m/2/model.onnx"
        path.parent.mkdir()
        path.write_bytes(b"no model")
        await looks(service, 4)
        assert states(service) == {"m/1": "ready", "m/2": "failed"}
        assert "ONNX Runtime cannot load it" in version(service, "m/2").failure
        assert await answering(service, png) == "1"
        assert await health(service) == await health(service, "m") == SERVING
        answer = await service.stub.GetModel(pb.GetModelRequest(version="2"))
        assert answer.model.state == pb.MODEL_STATE_FAILED
        failures = 'lapis_model_load_failures_total{model="m",version="2"}'
        assert await metric(service, failures) == "1.0", "a file that failed is not tried again"
        write_model(path)
        await looks(service)
        assert await answering(service, png) == "2"
        assert version(service, "m/2").failure == ""


async def test_broken_file_in_the_place_of_a_good_one_changes_nothing(
    serving: Serving, png: Png, write_model: WriteModel
) -> None:
    async with serving({"m/1": "invert"}) as service:
        path = models(service) / "m/1/model.onnx"
        before = service.model
        for content in (b"", b"no model"):
            path.write_bytes(content)
            await looks(service)
            assert service.model is before
            assert await answering(service, png) == "1"
            assert (await service.get("/readyz")).json()["models"][0]["reason"]
        assert await metric(service, 'lapis_model_load_failures_total{model="m",version="1"}') == "2.0"
        write_model(path, "identity")
        await looks(service)
        assert service.model is not before


async def test_file_that_vanishes_or_brings_out_a_fault_of_ours_harms_nobody_else(
    serving: Serving, png: Png, write_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving({"m/1": "invert"}) as service:
        for number, fault in ((2, FileNotFoundError(2, "No such file or directory")), (3, ZeroDivisionError("secret"))):
            write_model(models(service) / f"m/{number}/model.onnx")
            monkeypatch.setattr("service.loading.Engine", Mock(side_effect=fault))
            await looks(service)
        assert states(service) == {"m/1": "ready", "m/2": "failed", "m/3": "failed"}
        assert version(service, "m/2").failure.endswith("m/2/model.onnx: No such file or directory")
        assert "secret" not in version(service, "m/3").failure
        assert await answering(service, png) == "1"


async def test_file_that_is_still_being_copied_is_left_alone(
    serving: Serving, write_model: WriteModel, tmp_path: Path
) -> None:
    async with serving({"m/1": "invert"}) as service:
        whole = write_model(tmp_path / "whole.onnx", "slow").read_bytes()
        path = models(service) / "m/2/model.onnx"
        path.parent.mkdir()
        for share in (3, 2, 1):
            path.write_bytes(whole[: len(whole) // share])
            await looks(service, 1)
            assert states(service) == {"m/1": "ready"}
        await looks(service, 1)
        assert states(service)["m/2"] == "ready"
        assert await metric(service, 'lapis_model_load_failures_total{model="m",version="2"}') is None


async def test_repository_is_looked_at_again_and_again(serving: Serving, png: Png, write_model: WriteModel) -> None:
    async with serving({"m/1": "invert"}, repository_poll=0.01) as service:
        write_model(models(service) / "m/2/model.onnx")
        await service.until(lambda: states(service).get("m/2") == "ready")
        assert await answering(service, png) == "2"


async def test_caller_who_gives_up_on_a_load_does_not_end_it(serving: Serving, gate: Gate) -> None:
    async with serving({"m/1": "invert", "m/2": "invert"}) as service:
        gate.close()
        asked = asyncio.ensure_future(service.server.life.load("m", "1"))
        await until(service, "m/1", State.LOADING)
        asked.cancel()
        gate.open()
        await until(service, "m/1", State.READY)


async def test_server_that_ends_while_it_loads_on_request_says_so(serving: Serving, gate: Gate) -> None:
    async with serving({"m/1": "invert", "m/2": "invert"}) as service:
        gate.close()
        asked = asyncio.ensure_future(service.server.life.load("m", "1"))
        await until(service, "m/1", State.LOADING)
        service.stop.set()
        with pytest.raises(NotReady, match="shutting down"):
            await asked
        gate.open()


async def test_hidden_folders_are_no_versions(serving: Serving, write_model: WriteModel) -> None:
    async with serving({"m/1": "invert"}) as service:
        write_model(models(service) / "m/.2.4711/model.onnx")
        write_model(models(service) / ".n/1/model.onnx")
        await looks(service)
        assert states(service) == {"m/1": "ready"}


async def test_model_that_does_not_make_of_its_picture_what_export_saw_is_refused(
    serving: Serving, png: Png, write_model: WriteModel, proven: Proven
) -> None:
    async with serving({"m/1": "invert"}) as service:
        write_model(models(service) / "m/2/model.onnx", "invert", metadata=proven("identity"))
        await looks(service)
        assert states(service) == {"m/1": "ready", "m/2": "failed"}
        assert "comes out up to 255 of 255 levels off" in version(service, "m/2").failure
        write_model(models(service) / "m/2/model.onnx", "invert", metadata=proven("invert"))
        await looks(service)
        assert await answering(service, png) == "2"
        answer = await service.stub.GetModel(pb.GetModelRequest())
        assert "fingerprint" not in json.loads(answer.model.metadata_json), "callers who list models need no pictures"


# The start.


async def test_lower_version_serves_where_the_highest_is_broken_at_the_start(serving: Serving, png: Png) -> None:
    async with serving({"m/1": "invert", "m/2": "broken"}) as service:
        assert states(service) == {"m/1": "ready", "m/2": "failed"}
        assert await answering(service, png) == "1"


async def test_start_fails_where_no_version_can_be_served(serving: Serving) -> None:
    with pytest.raises(ExceptionGroup) as failed:
        async with serving({"a/1": "invert", "m/1": "broken", "m/2": "broken"}, wait=True):
            pass
    (error,) = failed.value.exceptions
    assert isinstance(error, StartupError)
    assert "m/1/model.onnx: the model fails on a blank picture" in str(error)


# Models that come and go.


async def test_model_that_is_added_serves_and_one_that_is_removed_is_gone(
    serving: Serving, png: Png, write_model: WriteModel
) -> None:
    async with serving({"m/1": "invert"}) as service:
        write_model(models(service) / "n/1/model.onnx")
        await looks(service)
        assert await answering(service, png, model="n") == "1"
        assert await health(service, "n") == SERVING
        shutil.rmtree(models(service) / "n")
        await looks(service, 1)
        assert states(service) == {"m/1": "ready", "n/1": "ready"}, "a file may be gone for a moment"
        await looks(service, 1)
        await service.until(lambda: states(service) == {"m/1": "ready"})
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.translate(png(BLACK), model="n")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert await metric(service, 'lapis_model_ready{model="n",version="1"}') is None
        assert await health(service) == SERVING


async def test_new_model_that_is_broken_does_not_make_the_server_unready(serving: Serving, png: Png) -> None:
    async with serving({"m/1": "invert"}) as service:
        (models(service) / "n/1").mkdir(parents=True)
        (models(service) / "n/1/model.onnx").write_bytes(b"no model")
        await looks(service)
        assert states(service) == {"m/1": "ready", "n/1": "failed"}
        assert await health(service) == SERVING
        assert await health(service, "n") == NOT_SERVING
        assert await answering(service, png, model="m") == "1"


async def test_version_that_is_removed_makes_room_for_the_one_before(serving: Serving, png: Png) -> None:
    async with serving({"m/1": "invert", "m/2": "invert"}) as service:
        callers = Callers(service, png(BLACK))
        await callers.after(3)
        shutil.rmtree(models(service) / "m/2")
        await looks(service)
        await service.until(lambda: states(service) == {"m/1": "ready"})
        await callers.after(1)
        assert await callers.end() == {"2", "1"}
        assert await answering(service, png) == "1"


async def test_last_version_that_serves_outlives_its_file(serving: Serving, png: Png) -> None:
    async with serving({"m/1": "invert"}) as service:
        (models(service) / "m/2").mkdir()
        (models(service) / "m/2/model.onnx").write_bytes(b"no model")
        shutil.rmtree(models(service) / "m/1")
        await looks(service, 3)
        assert states(service) == {"m/1": "ready", "m/2": "failed"}
        assert await answering(service, png) == "1"


@pytest.mark.parametrize("loss", ["empty", "missing"])
async def test_repository_that_is_lost_unloads_nothing(serving: Serving, png: Png, loss: str, tmp_path: Path) -> None:
    async with serving({"m/1": "invert", "n/1": "invert"}) as service:
        models(service).rename(tmp_path / "elsewhere")
        if loss == "empty":
            models(service).mkdir()
        await looks(service, 3)
        assert states(service) == {"m/1": "ready", "n/1": "ready"}
        assert await answering(service, png, model="m") == "1"


# Labels.


def label(service: Service, **labels: int) -> None:
    (models(service) / "m/labels.json").write_text(json.dumps(labels))


async def test_label_names_its_version_and_moves(serving: Serving, png: Png, write_model: WriteModel) -> None:
    async with serving({"m/1": "invert"}) as service:
        label(service, stable=1)
        await looks(service, 1)
        write_model(models(service) / "m/2/model.onnx")
        await looks(service)
        assert [await answering(service, png, version=one) for one in ("stable", "latest", "")] == ["1", "2", "2"]
        listed = await service.stub.ListModels(pb.ListModelsRequest())
        assert [list(one.labels) for one in listed.models] == [["stable"], ["latest"]]
        label(service, stable=2, canary=2)
        await looks(service, 1)
        assert await answering(service, png, version="stable") == "2"
        await until(service, "m/1", State.UNLOADED)
        listed = await service.stub.ListModels(pb.ListModelsRequest())
        assert [list(one.labels) for one in listed.models] == [[], ["latest", "canary", "stable"]]


async def test_label_goes_back_to_a_version_that_has_to_be_loaded_and_no_request_fails(
    serving: Serving, png: Png, write_model: WriteModel
) -> None:
    async with serving({"m/1": "invert"}) as service:
        label(service, stable=1)
        write_model(models(service) / "m/2/model.onnx")
        await looks(service)
        callers = Callers(service, png(BLACK), version="stable")
        for number in (2, 1, 2, 1):
            await callers.after(3)
            label(service, stable=number)
            await looks(service, 1)
        await callers.after(3)
        assert await callers.end() == {"1", "2"}
        assert await answering(service, png, version="stable") == "1"


async def test_broken_labels_leave_the_old_ones(serving: Serving, png: Png) -> None:
    async with serving({"m/1": "invert", "m/2": "invert"}, version_policy="all") as service:
        label(service, stable=1)
        await looks(service, 1)
        (models(service) / "m/labels.json").write_text('{"stable": ')
        with capture_logs() as logs:
            await looks(service, 3)
        (told,) = logs
        assert told["event"] == "labels_failed", "told once"
        assert "m/labels.json: not JSON" in told["reason"]
        assert await answering(service, png, version="stable") == "1"
        label(service, stable=2)
        with capture_logs() as logs:
            await looks(service, 1)
        assert logs == [{"event": "labels_changed", "log_level": "info", "model": "m", "labels": {"stable": 2}}]
        assert await answering(service, png, version="stable") == "2"


@pytest.mark.parametrize("content", [b"no model", None])
async def test_label_stays_where_it_is_while_its_new_version_cannot_be_served(
    serving: Serving, png: Png, content: bytes | None
) -> None:
    async with serving({"m/1": "invert"}) as service:
        label(service, stable=1)
        await looks(service, 1)
        if content:
            (models(service) / "m/2").mkdir()
            (models(service) / "m/2/model.onnx").write_bytes(content)
        label(service, stable=2)
        with capture_logs() as logs:
            await looks(service, 3)
        assert await answering(service, png, version="stable") == "1"
        assert {one["event"] for one in logs} == {"model_failed" if content else "labels_failed"}
        assert len(logs) == 1, "told once"


async def test_labels_that_are_gone_name_nothing_any_more(serving: Serving, png: Png) -> None:
    async with serving({"m/1": "invert"}) as service:
        label(service, stable=1)
        await looks(service, 1)
        (models(service) / "m/labels.json").unlink()
        await looks(service, 1)
        assert await answering(service, png, version="stable") == "1", "a file may be gone for a moment"
        await looks(service, 1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.translate(png(BLACK), version="stable")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


# On request.


async def test_version_is_loaded_on_request_and_stays(serving: Serving, png: Png) -> None:
    async with serving({"m/1": "invert", "m/2": "invert"}) as service:
        assert states(service) == {"m/1": "unloaded", "m/2": "ready"}
        loaded = await service.server.life.load("m", "1")
        assert (loaded.version, loaded.state) == (1, State.READY)
        await looks(service)
        assert [await answering(service, png, version=one) for one in ("1", "")] == ["1", "2"]


async def test_highest_version_is_found_and_loaded_on_request_at_once(
    serving: Serving, png: Png, write_model: WriteModel
) -> None:
    async with serving({"m/1": "invert"}) as service:
        write_model(models(service) / "m/2/model.onnx")
        write_model(models(service) / "n/7/model.onnx")
        assert (await service.server.life.load("m", "")).version == 2
        assert (await service.server.life.load("n", "latest")).version == 7
        await until(service, "m/1", State.UNLOADED)
        write_model(models(service) / "m/3/model.onnx")
        await looks(service)
        await until(service, "m/2", State.UNLOADED)
        assert await answering(service, png, model="m") == "3"


async def test_load_on_request_takes_a_changed_file_and_leaves_an_unchanged_one(
    serving: Serving, write_model: WriteModel
) -> None:
    async with serving({"m/1": "invert"}) as service:
        before = service.model
        await service.server.life.load("m", "")
        assert service.model is before
        write_model(models(service) / "m/1/model.onnx", "identity")
        await service.server.life.load("m", "")
        assert service.model is not before


async def test_load_on_request_says_why_it_fails_and_leaves_what_serves(
    serving: Serving, png: Png, write_model: WriteModel
) -> None:
    async with serving({"m/1": "invert"}) as service:
        path = write_model(models(service) / "m/2/model.onnx", "broken")
        for _ in range(2):  # asked for, a file is tried again
            with pytest.raises(ModelUnusable, match=r"^model m version 2 cannot be served: the model fails on a blank"):
                await service.server.life.load("m", "2")
        failures = 'lapis_model_load_failures_total{model="m",version="2"}'
        assert await metric(service, failures) == "2.0"
        assert await answering(service, png) == "1"
        write_model(path)
        assert (await service.server.life.load("m", "2")).is_ready


@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        ("n", "", "the repository has no model 'n'"),
        ("", "", "the repository has no model ''"),
        ("m", "2", "the repository has no version '2' of model m; it has 1"),
        ("m", "01", "the repository has no version '01' of model m; it has 1"),
        ("m", "stable", "the repository has no version 'stable' of model m; it has 1"),
    ],
)
async def test_what_the_repository_has_not_cannot_be_loaded(
    serving: Serving, name: str, number: str, message: str
) -> None:
    async with serving({"m/1": "invert"}) as service:
        with pytest.raises(ModelNotFound) as unknown:
            await service.server.life.load(name, number)
        assert str(unknown.value) == message


async def test_version_is_unloaded_on_request_once_its_requests_are_answered(
    serving: Serving, png: Png, gate: Gate
) -> None:
    async with serving({"m/1": "invert", "n/1": "invert"}) as service:
        gate.close()
        taken = asyncio.ensure_future(service.translate(png(BLACK), model="m"))
        await service.until(lambda: gate.reached == [1])
        unloading = asyncio.ensure_future(service.server.life.unload("m", ""))
        await until(service, "m/1", State.DRAINING)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.translate(png(BLACK), model="m")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not unloading.done()
        gate.open()
        assert (await taken).version == "1"
        (unloaded,) = await unloading
        assert (unloaded.name, unloaded.state, unloaded.loaded) == ("m", State.UNLOADED, None)
        assert await health(service, "m") == NOT_SERVING
        assert await health(service) == SERVING, "the others serve on"


async def test_unloaded_on_request_a_model_stays_so_until_it_is_asked_for_or_its_file_changes(
    serving: Serving, png: Png, write_model: WriteModel
) -> None:
    async with serving({"m/1": "invert", "m/2": "invert"}) as service:
        assert [one.version for one in await service.server.life.unload("m", "")] == [2]
        await looks(service, 3)
        assert states(service) == {"m/1": "unloaded", "m/2": "unloaded"}
        assert (await service.server.life.load("m", "")).version == 2
        assert [one.version for one in await service.server.life.unload("m", "latest")] == [2]
        write_model(models(service) / "m/2/model.onnx", "identity")
        await looks(service)
        assert await answering(service, png) == "2"


@pytest.mark.parametrize(("name", "number"), [("n", ""), ("", ""), ("m", "2"), ("m", "stable")])
async def test_what_is_not_known_cannot_be_unloaded(serving: Serving, name: str, number: str) -> None:
    async with serving({"m/1": "invert"}) as service:
        with pytest.raises(ModelNotFound):
            await service.server.life.unload(name, number)


async def test_requests_on_a_server_that_ends_are_refused(serving: Serving) -> None:
    async with serving({"m/1": "invert"}) as service:
        life = service.server.life
        service.stop.set()
    for asked in (life.load("m", ""), life.unload("m", ""), life.look()):
        with pytest.raises(NotReady, match="shutting down"):
            await asked


# Engines that break.


async def test_model_whose_engine_is_built_anew_makes_its_name_and_the_server_unready(
    serving: Serving, png: Png, soundness: Callable[[], Callable[[bool], None]]
) -> None:
    async with serving({"m/1": "invert"}) as service:
        tell = soundness()
        tell(False)
        await service.until(lambda: states(service) == {"m/1": "recovering"})
        await health_becomes(service, NOT_SERVING)
        assert await health(service, "m") == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.translate(png(BLACK))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        tell(True)
        await health_becomes(service, SERVING)
        assert await answering(service, png) == "1"


async def test_engine_that_was_replaced_has_no_say_any_more(
    serving: Serving, write_model: WriteModel, soundness: Callable[[], Callable[[bool], None]]
) -> None:
    async with serving({"m/1": "invert"}) as service:
        tell = soundness()
        write_model(models(service) / "m/1/model.onnx", "identity")
        await looks(service)
        tell(False)
        assert states(service) == {"m/1": "ready"}


async def health_becomes(service: Service, status: int) -> None:
    stub: Any = health_pb2_grpc.HealthStub(service.channel)
    async for answer in stub.Watch(health_pb2.HealthCheckRequest()):
        if answer.status == status:
            return


@pytest.fixture
def proven() -> Proven:
    """Makes the metadata of a model of a kind: what it makes of a black picture."""

    def encoded(level: int) -> str:
        return base64.b64encode(cv2.imencode(".png", np.full((SIDE, SIDE, 3), level, np.uint8))[1].tobytes()).decode()

    def make(kind: str) -> dict[str, Any]:
        side = {"height": SIDE, "width": SIDE, "channels": 3}
        made = {"identity": BLACK, "invert": 255 - BLACK}[kind]
        fingerprint = {"input": encoded(BLACK), "translation": encoded(made), "every": 1, "max_difference": 2}
        return {"format": "lapis-model/1", "input": side, "output": side, "fingerprint": fingerprint}

    return make


@pytest.fixture
def soundness(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Callable[[bool], None]]:
    """Catches what a load is to be told when its engine breaks; returns the last load's."""
    from service.loading import Loader  # noqa: PLC0415

    told: list[Callable[[bool], None]] = []
    load = Loader.load

    async def caught(loader: Loader, file: Any, on_sound: Callable[[bool], None]) -> Any:  # noqa: ANN401
        told.append(on_sound)
        return await load(loader, file, on_sound)

    monkeypatch.setattr(Loader, "load", caught)
    return lambda: told[-1]
