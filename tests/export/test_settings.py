from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lapis.command import read

if TYPE_CHECKING:
    from pathlib import Path

from export.settings import ExportSettings


def settings(*arguments: str) -> ExportSettings:
    return read("lapis-export", ExportSettings, arguments)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Returns the one line with which the command refuses the arguments."""
    with pytest.raises(SystemExit) as exit_:
        settings(*arguments)
    lines = capsys.readouterr().err.splitlines()
    assert exit_.value.code == 2
    assert len(lines) == 1
    return lines[0]


def test_name_and_version_are_the_last_two_parts_of_the_output(tmp_path: Path) -> None:
    entry = settings("checkpoint", "--output", f"{tmp_path}/models/edges2emoji/12/").entry
    assert (entry.name, entry.version) == ("edges2emoji", "12")
    assert entry.folder == tmp_path / "models" / "edges2emoji" / "12"


def test_relative_output_takes_its_name_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cats").mkdir()
    monkeypatch.chdir(tmp_path / "cats")
    assert settings("checkpoint", "--output", "3").entry.name == "cats"


@pytest.mark.parametrize("version", ["v1", "0", "01", "1.0", "-1", "latest", "\u0661"])
def test_version_must_be_a_whole_number_from_one(capsys: pytest.CaptureFixture[str], version: str) -> None:
    assert "VERSION a whole number from 1" in refusal(capsys, "checkpoint", f"--output=models/cats/{version}")


@pytest.mark.parametrize("name", [".hidden", "two words", "a\\b"])
def test_name_must_be_plain(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert "NAME made of letters" in refusal(capsys, "checkpoint", f"--output=models/{name}/1")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "wanted is lapis-export CHECKPOINT --output models/NAME/VERSION; given was nothing beside the options"),
        (["one", "two", "--output=cats/1"], "given was one two beside the options"),
        (["checkpoint"], "--output is required"),
        (["checkpoint", "--output=cats/1", "--json"], "--json goes with --describe"),
        (["checkpoint", "--describe=model.onnx"], "wanted is lapis-export --describe MODEL.onnx; given was checkpoint"),
        (["--describe=model.onnx", "--force", "--max-difference=2"], "leave out --force, --max-difference"),
        (["--describe=model.onnx", "--validate=pairs"], "leave out --validate"),
        (["--verify=model.onnx"], "wanted is lapis-export --verify MODEL.onnx DATA"),
        (["--compare=a.onnx", "b.onnx"], "wanted is lapis-export --compare A.onnx B.onnx DATA; given was b.onnx"),
        (["--compare=a.onnx", "--verify=a.onnx", "data"], "--verify and --compare: one at a time"),
        (["--verify=a.onnx", "data", "--precision=fp16"], "--verify only runs a model; leave out --precision"),
        (["checkpoint", "--output=cats/1", "--precision=int8"], "--precision int8 needs --calibrate"),
        (["checkpoint", "--output=cats/1", "--calibrate=pictures"], "--calibrate goes with --precision int8"),
        (["checkpoint", "--output=cats/1", "--size=256"], "--size"),
        (["checkpoint", "--output=cats/1", "--size=0x256"], "HEIGHTxWIDTH in pixels"),
        (["checkpoint", "--output=cats/1", "--netG=stylegan"], "--netG"),
        (["checkpoint", "--output=cats/1", "--bits=12"], "--bits"),
        (["checkpoint", "--output=cats/1", "--precision=int7"], "--precision"),
        (["checkpoint", "--output=cats/1", "--max-difference=-1"], "--max-difference"),
        (["checkpoint", "--output=cats/1", "--ouput=cats/2"], "--ouput"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert expected in refusal(capsys, *arguments)


def test_environment_sets_what_no_flag_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPIS_EXPORT_PRECISION", "fp16-weights")
    monkeypatch.setenv("LAPIS_EXPORT_STATISTICS", "image")
    chosen = settings("checkpoint", "--output=cats/1", "--statistics=running")
    assert (chosen.precision, chosen.statistics) == ("fp16-weights", "running")


def test_compare_takes_two_models_and_data() -> None:
    chosen = settings("--compare=a.onnx", "b.onnx", "data, of a kind", "--output=both.png", "--json")
    assert [str(path) for path in chosen.paths] == ["b.onnx", "data, of a kind"]
    assert (str(chosen.compare), chosen.as_json) == ("a.onnx", True)
