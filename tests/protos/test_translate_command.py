from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from lapis.__main__ import main
from lapis.v1 import translation_pb2 as v1

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Server


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """Runs `lapis-translate` against the server, in a folder of its own, with no settings from outside."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LAPIS_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str, server: str = server.address) -> Ended:
        monkeypatch.setattr(sys, "argv", ["lapis-translate", *arguments, "--server", server])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(str(ended.value.code)), *capfd.readouterr())

    return run


def pictures(**contents: bytes) -> list[str]:
    """Writes NAME.png for each and returns the names."""
    for name, content in contents.items():
        Path(f"{name}.png").write_bytes(content)
    return [f"{name}.png" for name in contents]


def test_one_picture_is_told_of_in_one_line(command: Callable[..., Ended]) -> None:
    ended = command(*pictures(cat=b"cat"), "--output", "out.jpg")
    assert Path("out.jpg").read_bytes() == b"translated cat"
    assert ended == Ended(
        0,
        "out.jpg: 3x2 jpeg by edges2emoji 1 in 1007.0 ms "
        "(decode 1.0, queue 2.0, infer 1000.0, encode 4.0; batch of 5)\n",
        "",
    )


def test_options_reach_the_server(command: Callable[..., Ended], server: Server) -> None:
    options = "--model edges2emoji --model-version 1 --fit pad --format webp --quality 55 --size input --output out"
    assert command(*pictures(cat=b"cat"), *options.split()).code == 0
    [request] = server.service.requests
    assert (request.model, request.version, request.fit) == ("edges2emoji", "1", v1.FIT_PAD)
    assert request.output == v1.OutputOptions(format=v1.PICTURE_FORMAT_WEBP, quality=55, size=v1.OUTPUT_SIZE_INPUT)
    assert Path("out/cat.webp").exists()


def test_many_pictures_are_summed_up(command: Callable[..., Ended]) -> None:
    ended = command(*pictures(a=b"a", b=b"b", c=b"c"), "--output", "out")
    assert ended.code == 0
    assert ended.out.startswith("3 of 3 pictures translated to out in ")
    assert ended.out.endswith(" pictures/s)\n")
    assert ended.err == ""
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.png", "c.png"]


def test_failing_picture_is_named_with_its_reason(command: Callable[..., Ended]) -> None:
    ended = command(*pictures(a=b"a", bad=b"fail INVALID_PICTURE", c=b"c"), "--output", "out")
    assert ended.code == 1
    assert ended.err == "bad.png: sentence of INVALID_PICTURE (INVALID_PICTURE)\n"
    assert ended.out.startswith("2 of 3 pictures translated")
    assert ended.out.endswith(", 1 failed\n  1 INVALID_PICTURE: bad.png\n")


def test_only_picture_that_fails_is_exit_code_1(command: Callable[..., Ended]) -> None:
    ended = command(*pictures(bad=b"fail INFERENCE_FAILED"), "--output", "out")
    assert ended == Ended(1, "", "bad.png: sentence of INFERENCE_FAILED (INFERENCE_FAILED)\n")
    assert list(Path("out").iterdir()) == []


def test_unreachable_server_is_exit_code_2_and_makes_nothing(
    command: Callable[..., Ended], closed_address: str
) -> None:
    options = ["--output", "out", "--connect-timeout", "0"]
    ended = command(*pictures(a=b"a", b=b"b"), *options, server=closed_address)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"lapis-translate: error: no Lapis server answers at {closed_address}: ")
    assert ended.err.count("\n") == 1
    assert not Path("out").exists()


def test_server_that_is_still_starting_is_waited_for(closed_address: str, serve: Callable[[str], Server]) -> None:
    host, _, port = closed_address.partition(":")
    with socket.create_server((host, int(port))) as early:
        process = _start(closed_address, "--models", "--connect-timeout", "30")
        early.accept()[0].close()  # the command has tried, and found no server
    serve(closed_address)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("MODEL ")


def test_unknown_model_is_told_once_and_makes_nothing(command: Callable[..., Ended]) -> None:
    ended = command(*pictures(a=b"a", b=b"b"), "--output", "out", "--model", "edges2dogs")
    assert ended == Ended(2, "", "lapis-translate: error: sentence of MODEL_NOT_FOUND\n")
    assert not Path("out").exists()


def test_model_that_failed_to_load_is_not_waited_for(command: Callable[..., Ended], server: Server) -> None:
    server.service.models = [v1.Model(name="edges2emoji", version="3", state=v1.MODEL_STATE_FAILED)]
    ended = command(*pictures(a=b"a"), "--output", "out")
    sentence = "the server could not load model edges2emoji version 3; its log says why"
    assert ended == Ended(2, "", f"lapis-translate: error: {sentence}\n")
    assert server.service.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--output out", "name at least one picture or folder (see lapis-translate --help)"),
        ("a.png", "--output is required: a file for one picture, else a folder"),
        ("a.png --output x.png --format jpeg", "--output x.png is not named as --format jpeg would be"),
        ("a.png --output out --quality 80", "--quality is for jpeg and webp: png has none"),
        (
            "a.png --output out --format jpeg --quality 101",
            "--quality: Input should be less than or equal to 100 (got '101')",
        ),
        ("a.png --output out --concurrency 0", "--concurrency: Input should be greater than 0 (got '0')"),
        ("a.png --output out --timeout 0", "--timeout: Input should be greater than 0 (got '0')"),
        ("none.png --output out", "no such file or folder: none.png"),
        ("a.png --output out --colour red", "unrecognized arguments: --colour red (see lapis-translate --help)"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    command: Callable[..., Ended], server: Server, arguments: str, message: str
) -> None:
    pictures(a=b"a")
    assert command(*arguments.split()) == Ended(2, "", f"lapis-translate: error: {message}\n")
    assert server.service.requests == []
    assert [path.name for path in Path().iterdir()] == ["a.png"]


@pytest.mark.parametrize("address", ["localhost", ":50051", "localhost:http", "a:1,b", "::1", "a:65536"])
def test_address_without_a_host_or_a_port_is_refused(command: Callable[..., Ended], address: str) -> None:
    ended = command("--models", server=address)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("lapis-translate: error: --server: must be HOST:PORT, or several with commas between, ")
    assert ended.err.endswith(f" (got {address!r})\n")


def test_settings_come_from_the_environment_and_from_a_file(
    command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    Path("settings.yaml").write_text("format: webp\nfit: crop\noutput: from-file\n")
    monkeypatch.setenv("LAPIS_TRANSLATE_OUTPUT", "from-environment")
    assert command(*pictures(a=b"a"), "--config", "settings.yaml").code == 0
    assert Path("from-environment/a.webp").exists()
    assert server.service.requests[0].fit == v1.FIT_CROP


def test_models_are_listed_as_a_table(command: Callable[..., Ended], server: Server) -> None:
    server.service.models.append(v1.Model(name="new", version="12", state=v1.MODEL_STATE_LOADING, max_batch_size=1))
    ended = command("--models")
    assert ended == Ended(
        0,
        "MODEL        VERSION  STATE    INPUT      OUTPUT     PROVIDER              MAX BATCH  LABELS\n"
        "edges2emoji  1        ready    256x256x3  anyxanyx1  CPUExecutionProvider  8          latest,stable\n"
        "new          12       loading  0x0x0      0x0x0      -                     1          -\n",
        "",
    )


def _start(address: str, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAPIS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "lapis", *arguments, "--server", address],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=environment,
    )


def test_interrupt_says_what_is_done_and_leaves_no_traces(server: Server, tmp_path: Path) -> None:
    for name, content in {"a": b"a", "b": b"hold", "c": b"c"}.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    process = _start(server.address, str(tmp_path), "--output", str(tmp_path / "out"), "--concurrency", "1")
    assert server.service.held.wait(30)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert out.startswith("1 of 3 pictures translated")
    assert out.endswith(", 2 not sent\n")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_progress_is_shown_on_a_terminal(server: Server, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"picture")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = _start(server.address, str(tmp_path), "--output", str(tmp_path / "out"), stderr=theirs)
    os.close(theirs)
    process.communicate(timeout=30)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert process.returncode == 0
    assert "2/2" in shown
    assert "pictures/s" in shown


def test_server_that_goes_away_is_exit_code_2_with_what_is_done(server: Server, tmp_path: Path) -> None:
    for name, content in {"a": b"a", "b": b"hold", "c": b"c"}.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    once = ("--concurrency", "1", "--retry-max-time", "0")
    process = _start(server.address, str(tmp_path), "--output", str(tmp_path / "out"), *once)
    assert server.service.held.wait(30)
    server.stop()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert out.startswith("1 of 3 pictures translated")
    assert out.endswith(", 2 not sent\n")
    assert err.startswith(f"lapis-translate: error: no Lapis server answers at {server.address}: ")
    assert err.count("\n") == 1
