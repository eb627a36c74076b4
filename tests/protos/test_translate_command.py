from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lapis.v1 import translation_pb2 as v1

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Ended, Server


def pictures(**contents: bytes) -> list[str]:
    """Writes NAME.png for each and returns the names."""
    for name, content in contents.items():
        Path(f"{name}.png").write_bytes(content)
    return [f"{name}.png" for name in contents]


def test_one_picture_is_told_of_in_one_line(command: Callable[..., Ended]) -> None:
    ended = command(*pictures(cat=b"cat"), "--output", "out.jpg")
    assert Path("out.jpg").read_bytes() == b"translated cat"
    assert ended == (
        0,
        (
            "out.jpg: 3x2 jpeg by edges2emoji 1 in 1007.0 ms "
            "(decode 1.0, queue 2.0, infer 1000.0, encode 4.0; batch of 5)\n"
        ),
        "",
    )


def test_options_reach_the_server(command: Callable[..., Ended], server: Server) -> None:
    options = "--model edges2emoji --model-version 1 --fit pad --format webp --quality 55 --size input --output out"
    assert command(*pictures(cat=b"cat"), *options.split()).code == 0
    [request] = server.service.requests
    assert (request.model, request.version, request.fit) == ("edges2emoji", "1", v1.FIT_PAD)
    assert request.output == v1.OutputOptions(format=v1.PICTURE_FORMAT_WEBP, quality=55, size=v1.OUTPUT_SIZE_INPUT)
    assert Path("out/cat.webp").exists()


@pytest.mark.parametrize("name", ["a,b", "[x]", '"q"', "{z}", "it's", "b\\s", " space ", "-dash", "tab\t", "7"])
def test_names_of_files_may_have_any_characters(command: Callable[..., Ended], name: str) -> None:
    Path("pics").mkdir()
    for picture in (f"pics/{name}.png", "pics/plain.png"):
        Path(picture).write_bytes(b"picture")
    ended = command(f"pics/{name}.png", "pics/plain.png", "--output", "out")
    assert (ended.code, ended.err) == (0, "")
    assert sorted(path.name for path in Path("out").iterdir()) == sorted([f"{name}.png", "plain.png"])


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
    assert ended == (1, "", "bad.png: sentence of INFERENCE_FAILED (INFERENCE_FAILED)\n")
    assert list(Path("out").iterdir()) == []


def test_failures_are_summed_up_by_reason(command: Callable[..., Ended]) -> None:
    bad = {f"bad{number}": b"fail INVALID_PICTURE %d" % number for number in range(5)}
    Path("pics").mkdir()
    for name, content in {**dict.fromkeys(bad, b"fail INVALID_PICTURE"), "c": b"fail INFERENCE_FAILED"}.items():
        Path(f"pics/{name}.png").write_bytes(content)
    ended = command("pics", "--output", "out", "--concurrency", "1")
    assert ended.code == 1
    assert ended.out.splitlines()[1:] == [
        "  5 INVALID_PICTURE: pics/bad0.png, pics/bad1.png, pics/bad2.png, …",
        "  1 INFERENCE_FAILED: pics/c.png",
    ]


def test_list_of_failures_can_be_fed_back(command: Callable[..., Ended]) -> None:
    for name in ("pics/a.png", "pics/deep/b.png", "pics/deep/c.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"fail INFERENCE_FAILED" if name.endswith("b.png") else b"fine")
    run = ("--output", "out", "--format", "webp", "--failures", "failed.txt")
    assert command("pics", *run).code == 1
    assert Path("failed.txt").read_text() == "pics/deep/b.png\tdeep/b.webp\n"
    Path("pics/deep/b.png").write_bytes(b"repaired")
    assert command("--list", "failed.txt", *run).code == 0
    assert Path("out/deep/b.webp").read_bytes() == b"translated repaired"
    assert Path("failed.txt").read_bytes() == b""


def test_failure_that_no_list_can_name_is_told(command: Callable[..., Ended]) -> None:
    Path("odd\tname.png").write_bytes(b"fail INFERENCE_FAILED")
    ended = command("odd\tname.png", "--output", "out", "--failures", "failed.txt")
    assert ended.code == 1
    assert "'odd\\tname.png' cannot stand in a list" in ended.err
    assert Path("failed.txt").read_bytes() == b""


def test_list_of_failures_that_cannot_be_written_stops_it_before_anything_is_sent(
    command: Callable[..., Ended], server: Server
) -> None:
    ended = command(*pictures(a=b"a"), "--output", "out", "--failures", "none/failed.txt")
    complaint = "cannot write --failures none/failed.txt: No such file or directory"
    assert ended == (2, "", f"lapis-translate: error: {complaint}\n")
    assert server.service.requests == []


def test_list_is_read_from_standard_input(server: Server, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(b"picture")
    process = _start(server.address, "--list", "-", "--output", str(tmp_path / "out"), stdin=subprocess.PIPE)
    out, err = process.communicate(f"{tmp_path / 'a.png'}\n{tmp_path / 'b.png'}\n", timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("2 of 2 pictures translated")


def test_resumed_run_sends_what_is_left_and_says_so(command: Callable[..., Ended], server: Server) -> None:
    pictures(a=b"a", b=b"b", c=b"c")
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"earlier")
    ended = command("a.png", "b.png", "c.png", "--output", "out", "--resume")
    assert ended.code == 0
    assert ended.out.startswith("2 of 2 pictures translated to out in ")
    assert ended.out.endswith(", 1 were there already\n")
    assert sorted(request.encoded for request in server.service.requests) == [b"b", b"c"]
    assert Path("out/a.png").read_bytes() == b"earlier"
    again = command("a.png", "b.png", "c.png", "--output", "out", "--resume")
    assert again == (0, "nothing to do: all 3 translations are in out already\n", "")


def test_many_pictures_give_way_and_one_does_not(command: Callable[..., Ended], server: Server) -> None:
    def priorities(*arguments: str) -> set[int]:
        server.service.requests.clear()
        assert command(*arguments, "--output", "out", "--overwrite").code == 0
        return {request.priority for request in server.service.requests}

    pictures(a=b"a", b=b"b")
    assert priorities("a.png") == {v1.PRIORITY_NORMAL}
    assert priorities("a.png", "b.png") == {v1.PRIORITY_LOW}
    assert priorities("a.png", "b.png", "--priority", "high") == {v1.PRIORITY_HIGH}


def test_timeout_is_each_picture_s(command: Callable[..., Ended], server: Server) -> None:
    command(*pictures(a=b"a", b=b"b"), "--output", "out", "--timeout", "2.5")
    assert {request.timeout.ToMilliseconds() for request in server.service.requests} == {2500}


def test_token_comes_from_the_environment(
    command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setenv("LAPIS_TRANSLATE_TOKEN", "s3cret")
    assert command(*pictures(a=b"a"), "--output", "out").code == 0
    assert {sent["authorization"] for sent in server.service.metadata} == {"Bearer s3cret"}


def test_several_servers_are_used(command: Callable[..., Ended], serve: Callable[..., Server]) -> None:
    two = [serve(), serve()]
    Path("pics").mkdir()
    for number in range(300):
        Path(f"pics/{number}.png").write_bytes(b"a")
    ended = command("pics", "--output", "out", server=",".join(server.address for server in two))
    assert ended.code == 0
    assert ended.out.startswith("300 of 300 pictures translated")
    assert sum(len(server.service.requests) for server in two) == 300


def test_model_s_own_health_is_what_counts(command: Callable[..., Ended], serve: Callable[..., Server]) -> None:
    server = serve(healthy=False)
    server.health.set("edges2emoji", 1)  # another model is not well
    assert command(*pictures(a=b"a"), "--output", "out", server=server.address).code == 0


def test_server_that_is_checked_against_other_authorities_is_not_trusted(command: Callable[..., Ended]) -> None:
    Path("ca.pem").write_text("no certificate")
    ended = command(*pictures(a=b"a"), "--output", "out", "--ca", "ca.pem", "--connect-timeout", "0")
    assert (ended.code, ended.out) == (2, "")


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
    assert ended == (2, "", "lapis-translate: error: sentence of MODEL_NOT_FOUND\n")
    assert not Path("out").exists()


def test_model_that_failed_to_load_is_not_waited_for(command: Callable[..., Ended], server: Server) -> None:
    server.service.models = [v1.Model(name="edges2emoji", version="3", state=v1.MODEL_STATE_FAILED)]
    ended = command(*pictures(a=b"a"), "--output", "out")
    sentence = "the server could not load model edges2emoji version 3; its log says why"
    assert ended == (2, "", f"lapis-translate: error: {sentence}\n")
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
        ("--list none.txt --output out", "cannot read the list none.txt: No such file or directory"),
        ("a.png --output out --overwrite --resume", "--overwrite does again what --resume skips: give one of them"),
        ("a.png --output out --ca none.pem", "--ca: cannot be read (got 'none.pem')"),
        ("a.png --output out --certificate a.png", "--certificate and --key belong together: give both"),
        ("a.png --output out --certificate a.png --key none.pem", "--key: cannot be read (got 'none.pem')"),
        ("a.png --output out --colour red", "unrecognized arguments: --colour red (see lapis-translate --help)"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    command: Callable[..., Ended], server: Server, arguments: str, message: str
) -> None:
    pictures(a=b"a")
    assert command(*arguments.split()) == (2, "", f"lapis-translate: error: {message}\n")
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
    assert ended == (
        0,
        (
            "MODEL        VERSION  STATE    INPUT      OUTPUT                            PROVIDER              "
            "MAX BATCH  LABELS         SAMPLES  SEED\n"
            "edges2emoji  1        ready    256x256x3  any multiple of 256 from 256, x1  CPUExecutionProvider  "
            "8          latest,stable  uint8    no\n"
            "new          12       loading  0x0x0      0x0x0                             -                     "
            "1          -              -        -\n"
        ),
        "",
    )


def _start(
    address: str, *arguments: str, stderr: int = subprocess.PIPE, stdin: int | None = None
) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAPIS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "lapis", *arguments, "--server", address],
        stdout=subprocess.PIPE,
        stderr=stderr,
        stdin=stdin,
        text=True,
        env=environment,
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_says_what_is_done_and_leaves_no_traces(server: Server, tmp_path: Path, stop: signal.Signals) -> None:
    for name, content in {"a": b"a", "b": b"hold", "c": b"c"}.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    process = _start(server.address, str(tmp_path), "--output", str(tmp_path / "out"), "--concurrency", "1")
    assert server.service.held.wait(30)
    process.send_signal(stop)
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
