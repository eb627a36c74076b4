"""The steps of a release do what they say: each runs here as it stands in the manifest."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from conftest import Shell

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "deploy" / "pipeline" / "config"
TINY = (
    "--netG unet_128 --ngf 4 --ndf 4 --load-size 132 --crop-size 128 --batch-size 2 --max-steps 4 --num-workers 0 "
    "--device cpu"
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: make chart")
    return found


@contextlib.contextmanager
def running(arguments: list[str], url: str) -> Iterator[None]:
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 60
            while not _answers(url):
                assert process.poll() is None
                assert time.monotonic() < until
            yield
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return False
    except OSError:
        return False


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    command, host = program("docker-registry"), f"127.0.0.1:{free_port()}"
    settings = {
        "version": 0.1,
        "http": {"addr": host},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "r")}},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(settings))
    with running([command, "serve", str(tmp_path / "registry.yml")], f"http://{host}/v2/"):
        yield host


@pytest.mark.slow
def test_from_pairs_to_translations_by_way_of_a_registry(shell: Shell, registry: str, tmp_path: Path) -> None:
    data, work = tmp_path / "pairs", tmp_path / "work"
    pairs = ["openmoji", "--output", str(data), "--size", "128", "--limit", "24", "--test", "3"]
    subprocess.run([sys.executable, "-m", "train.pairs", *pairs], check=True, capture_output=True, cwd=ROOT)
    common = {
        "WORK": work,
        "DATA": data,
        "TRAINING": TINY,
        "MODEL": "emoji",
        "VERSION": "4",
        "REPOSITORY": f"{registry}/models/emoji",
        "REGISTRY_FLAGS": "--plain-http",
        "PORT": free_port(),
    }
    for step in ("train", "export", "push"):
        done = shell.run(step, **common)
        assert done.returncode == 0, f"{step}: {done.stderr}"
    reference = (work / "reference").read_text().strip()
    assert reference.startswith(f"{registry}/models/emoji@sha256:")
    done = shell.run("try", {"inputs.parameters.reference": reference}, **common)
    assert done.returncode == 0, done.stderr
    translated = {path.name for path in (work / "translations").iterdir()}
    assert translated == {path.name for path in (data / "test" / "A").iterdir()}
    again = shell.run("push", **common)
    assert (again.returncode, (work / "reference").read_text().strip()) == (0, reference)


@pytest.fixture
def deployments(tmp_path: Path) -> Path:
    """The repository that Argo CD would follow, as config/ begins it."""
    git = program("git")
    bare, checkout = tmp_path / "deployments.git", tmp_path / "checkout"
    subprocess.run([git, "init", "--quiet", "--bare", "--initial-branch", "main", str(bare)], check=True)
    subprocess.run([git, "clone", "--quiet", str(bare), str(checkout)], check=True, capture_output=True)
    shutil.copytree(CONFIG, checkout, dirs_exist_ok=True)
    for arguments in (["add", "."], ["commit", "--quiet", "-m", "Begin"], ["push", "--quiet", "origin", "HEAD:main"]):
        who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
        subprocess.run([git, "-C", str(checkout), *who, *arguments], check=True, capture_output=True)
    return bare


def show(repository: Path, path: str, revision: str = "main") -> str:
    command = ["git", "-C", str(repository), "show", f"{revision}:{path}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def messages(repository: Path) -> list[str]:
    command = ["git", "-C", str(repository), "log", "--format=%s", "main"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


REFERENCE = "registry.example.com/models/facades@sha256:" + "1" * 64


@pytest.fixture
def commit(shell: Shell, release: object, deployments: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs the commit that a step of the release makes, with the very arguments that the release gives it."""
    templates = release.manifest["spec"]["templates"]  # type: ignore[attr-defined]
    steps = [step for one in templates for group in one.get("steps", []) for step in group]

    def run(name: str) -> subprocess.CompletedProcess[str]:
        (step,) = [step for step in steps if step["name"] == name]
        known = release.parameters | {  # type: ignore[attr-defined]
            "steps.push.outputs.parameters.reference": REFERENCE
        }
        given = {}
        for one in step["arguments"]["parameters"]:
            value = one["value"]
            for key, filled in known.items():
                value = value.replace("{{" + key + "}}", filled)
            assert "{{" not in value
            given[f"inputs.parameters.{one['name']}"] = value
        return shell.run("commit", given, CONFIG=deployments)

    return run


Commit = Callable[[str], subprocess.CompletedProcess[str]]


def test_a_release_goes_through_git_step_by_step(commit: Commit, deployments: Path) -> None:
    people = show(deployments, "studio/values.yaml")
    for step, weight in (("canary", 10), ("widen", 50)):
        assert commit(step).returncode == 0
        values = yaml.safe_load(show(deployments, "studio/canary.yaml"))["canary"]
        assert (values["enabled"], values["weight"]) == (True, weight)
        assert values["model"] == {"source": "image", "image": {"reference": REFERENCE}}
        assert "bundled" in show(deployments, "studio/model.yaml")
    assert commit("promote").returncode == 0
    assert yaml.safe_load(show(deployments, "studio/canary.yaml")) == {"canary": {"enabled": False}}
    model = yaml.safe_load(show(deployments, "studio/model.yaml"))["model"]
    assert model == {"source": "image", "image": {"reference": REFERENCE}}
    assert show(deployments, "studio/values.yaml") == people
    assert messages(deployments)[:3] == [
        "Release facades 4",
        "Try facades 4 on half of the calls",
        "Try facades 4 on 10 % of the calls",
    ]


def test_a_release_that_failed_is_withdrawn(commit: Commit, deployments: Path) -> None:
    commit("canary")
    assert commit("withdraw").returncode == 0
    assert yaml.safe_load(show(deployments, "studio/canary.yaml")) == {"canary": {"enabled": False}}
    assert "bundled" in show(deployments, "studio/model.yaml")
    before = messages(deployments)
    again = commit("withdraw")
    assert (again.returncode, messages(deployments)) == (0, before)
    assert "nothing to change" in again.stdout


def test_a_revert_rolls_back(commit: Commit, deployments: Path, tmp_path: Path) -> None:
    commit("promote")
    checkout = tmp_path / "reverting"
    subprocess.run(["git", "clone", "--quiet", str(deployments), str(checkout)], check=True)
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    subprocess.run(["git", "-C", str(checkout), *who, "revert", "--no-edit", "HEAD"], check=True, capture_output=True)
    subprocess.run(["git", "-C", str(checkout), "push", "--quiet", "origin", "HEAD:main"], check=True)
    assert "bundled" in show(deployments, "studio/model.yaml")


def test_who_commits_meanwhile_is_not_overwritten(commit: Commit, deployments: Path, tmp_path: Path) -> None:
    """The first push comes too late: the repository takes another commit in just before it."""
    other, git = tmp_path / "other", ["git", "-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    subprocess.run([*git, "clone", "--quiet", str(deployments), str(other)], check=True)
    (other / "studio" / "notes.md").write_text("more replicas from Monday\n")
    subprocess.run([*git, "-C", str(other), "add", "."], check=True)
    subprocess.run([*git, "-C", str(other), "commit", "--quiet", "-m", "More"], check=True)
    subprocess.run([*git, "-C", str(other), "push", "--quiet", "origin", "HEAD:refs/heads/waiting"], check=True)
    hook = deployments / "hooks" / "pre-receive"
    hook.write_text(
        "#!/bin/sh\nif git rev-parse --quiet --verify waiting; then\n"
        "  unset GIT_QUARANTINE_PATH\n  git update-ref refs/heads/main waiting\n"
        "  git update-ref -d refs/heads/waiting\nfi >&2\n"
    )
    hook.chmod(0o755)
    assert commit("canary").returncode == 0
    assert messages(deployments)[:2] == ["Try facades 4 on 10 % of the calls", "More"]
    assert "Monday" in show(deployments, "studio/notes.md")


Judge = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def judge(shell: Shell, tmp_path: Path) -> Judge:
    """Runs the judgement against a real Prometheus that recorded what is given, over the last half hour."""

    def run(errors: str | None, seconds: str | None, rate: float) -> subprocess.CompletedProcess[str]:
        port, storage = free_port(), tmp_path / "tsdb"
        _record(tmp_path / "recorded", errors, seconds, rate)
        backfill = ["tsdb", "create-blocks-from", "openmetrics", str(tmp_path / "recorded"), str(storage)]
        subprocess.run([program("promtool"), *backfill], check=True, capture_output=True)
        (tmp_path / "prometheus.yml").write_text("{}\n")
        url = f"http://127.0.0.1:{port}"
        arguments = [
            program("prometheus"),
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={storage}",
        ]
        with running([*arguments, f"--web.listen-address=127.0.0.1:{port}"], f"{url}/-/ready"):
            return shell.run("judge", PROMETHEUS=url, WATCH=0, PATIENCE=0, BETWEEN=0)

    return run


def _record(path: Path, errors: str | None, seconds: str | None, rate: float) -> None:
    now = int(time.time())
    times = range(now - 1800, now + 1, 15)
    labels = 'namespace="studio",job="lapis",track="canary"'
    lines = []
    for name, value in (
        ("lapis:errors_by_track:ratio_rate15m", errors),
        ("lapis:request_seconds_by_track:p95_rate15m", seconds),
    ):
        if value is not None:
            lines += [f"# TYPE {name} gauge", *(f"{name}{{{labels}}} {value} {at}" for at in times)]
    counter = "lapis_request_seconds_count"
    lines.append(f"# TYPE {counter} unknown")
    lines += [f'{counter}{{{labels},method="Translate",code="OK"}} {rate * (at - now + 1800)} {at}' for at in times]
    path.write_text("\n".join([*lines, "# EOF"]) + "\n")


def test_a_canary_that_does_well_passes(judge: Judge) -> None:
    done = judge(errors="0.001", seconds="0.2", rate=2)
    assert (done.returncode, done.stdout.strip()) == (0, "the canary does well"), done.stderr


@pytest.mark.parametrize(
    ("errors", "seconds", "rate", "why"),
    [
        ("0.05", "0.2", 2, "more than 0.01 of the canary's requests fail"),
        ("0.001", "3", 2, "take longer than 1 s"),
        ("NaN", "NaN", 0, "too few to judge"),
        (None, None, 0.01, "too few to judge"),
        ("0.001", "0.2", 0.01, "too few to judge"),
    ],
)
def test_a_canary_that_does_not_fails_and_says_why(
    judge: Judge, errors: str | None, seconds: str | None, rate: float, why: str
) -> None:
    done = judge(errors=errors, seconds=seconds, rate=rate)
    assert done.returncode == 1, done.stdout
    assert why in done.stderr


def test_without_prometheus_nothing_is_judged_well(shell: Shell) -> None:
    program("jq")
    done = shell.run("judge", PROMETHEUS=f"http://127.0.0.1:{free_port()}", WATCH=0, PATIENCE=0, BETWEEN=0)
    assert done.returncode != 0
    assert "does well" not in done.stdout
