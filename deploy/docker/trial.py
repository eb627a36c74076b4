"""Builds the service's image for real and runs it, where there is neither an engine nor a registry.

    python -m deploy.docker.trial

buildah builds the target `cpu` on a base that mmdebstrap makes of Debian's packages. What comes of it runs as the image
says: its user, its command and its environment, as the first process of its namespace, on a root that is mounted
read-only and in which shells cannot be run, without a way to new rights. The image's own HEALTHCHECK says when it is
ready, pictures are translated through it, and SIGTERM ends it. What is not as in a container: it shares the machine's
network, and no control group bounds it.

Needs root, and Debian's buildah and mmdebstrap. Exit code 0: it does all that; 1: it does not; 2: it cannot be tried
here.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "service.Dockerfile"
PACKAGES = "python3,python3-venv,ca-certificates"
READY_SECONDS = 120.0
# One process from another: mounts are its own and go with it. Then the image's command takes its place.
_ENTER = """
set -e
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
for shell in bash dash sh; do mount --bind /dev/null "$root/bin/$shell"; done
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
exec "$@"
"""


class TrialError(Exception):
    """Says what the image does not do."""


class NotHereError(Exception):
    """Says why it cannot be tried on this machine."""


@dataclass(frozen=True)
class Image:
    """An image's files and what its configuration says."""

    root: Path
    user: str
    environment: list[str]
    entrypoint: list[str]
    probe: list[str]
    labels: dict[str, str]

    def command(self, arguments: list[str], *, first: bool) -> list[str]:
        """Returns what runs a command in the image; `first`: as the first process of its own namespace."""
        namespaces = ["--mount", "--pid", "--fork", "--kill-child"] if first else ["--mount"]
        enter = ["unshare", *namespaces, "/bin/sh", "-c", _ENTER, "sh", str(self.root)]
        chroot = ["/usr/sbin/chroot", f"--userspec={self.user}", str(self.root)]
        return [*enter, "setpriv", "--no-new-privs", "env", "-i", *self.environment, *chroot, *arguments]


def main() -> None:
    """Is the command line."""
    argparse.ArgumentParser(
        "python -m deploy.docker.trial", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    try:
        check_possible()
        with tempfile.TemporaryDirectory(prefix="lapis-image-") as folder:
            trial(Path(folder))
    except TrialError as error:
        sys.exit(f"trial: {error}")
    except NotHereError as error:
        print(f"trial: {error}", file=sys.stderr)
        sys.exit(2)


def check_possible() -> None:
    """Raises NotHereError where it cannot be tried."""
    if os.geteuid():
        raise NotHereError("needs root, to mount and to change the root of a process")
    needed = ("buildah", "mmdebstrap", "unshare", "setpriv", "mount")
    if missing := [name for name in needed if not shutil.which(name)]:
        raise NotHereError(f"{', '.join(missing)}: not installed; apt-get install buildah mmdebstrap util-linux")
    for port in (50051, 8080):
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError as error:
                raise NotHereError(f"port {port} is taken, which the image listens on") from error


def trial(folder: Path) -> None:
    """Builds, runs, translates and stops; raises TrialError."""
    began = time.monotonic()
    base = make_base(folder)
    say(f"base       {base}, in {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    name = build(folder, base)
    with unpacked(folder, name) as image:
        took = time.monotonic() - began
        whole, ours = megabytes(image.root), megabytes(image.root / "opt" / "lapis")
        say(f"image      {whole}, the service {ours} of it, in {took:.0f} s")
        if found := sorted(path.name for path in image.root.glob("opt/lapis/lib/python3*/site-packages/torch*")):
            raise TrialError(f"torch is in the image: {', '.join(found)}")
        began = time.monotonic()
        with running(image) as service:
            wait_until_ready(image, service)
            took = time.monotonic() - began
            say(f"healthy    after {took:.1f} s, as {image.user} on a read-only root without a shell")
            translate(folder)
            say("translated a drawing, and what every model was asked")
            stop(service)
    say("stopped    by SIGTERM as process 1, exit code 0")


def megabytes(folder: Path) -> str:
    """Returns how much the files of a folder hold."""
    return f"{sum(path.lstat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:.0f} MB"


def buildah(folder: Path, *arguments: str) -> str:
    """Runs buildah with storage of its own; raises TrialError with the end of what it said."""
    storage = ["--storage-driver", "vfs", "--root", str(folder / "storage"), "--runroot", str(folder / "run")]
    return call(["buildah", *storage, *arguments])


def make_base(folder: Path) -> str:
    """Makes an image of Debian 12 with its Python 3.11."""
    tar = folder / "base.tar"
    call(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(tar)])
    container = buildah(folder, "from", "scratch").strip()
    buildah(folder, "add", "--quiet", container, str(tar), "/")
    buildah(folder, "commit", "--quiet", "--rm", container, "localhost/lapis-base:bookworm")
    tar.unlink()
    return "localhost/lapis-base:bookworm"


def build(folder: Path, base: str) -> str:
    """Builds the target `cpu`."""
    volumes = [part for volume in pip_volumes(folder) for part in ("--volume", volume)]
    options = ["--isolation", "chroot", "--pull-never", "--format", "docker", "--quiet", *volumes]
    arguments = ["--build-arg", f"PYTHON_IMAGE={base}", "--target", "cpu", "--file", str(DOCKERFILE)]
    buildah(folder, "bud", *options, *arguments, "--tag", "localhost/lapis:trial", str(ROOT))
    return "localhost/lapis:trial"


def pip_volumes(folder: Path) -> list[str]:
    """Returns volumes by which pip in the build is set up as it is here: its settings, and the files they name."""
    told = call([sys.executable, "-m", "pip", "config", "list"])
    settings = [line.partition("=") for line in told.splitlines() if line]
    config = configparser.RawConfigParser()
    config["global"] = {name.rpartition(".")[2]: value.strip("'\"") for name, _, value in settings}
    path = folder / "pip.conf"
    with path.open("w", encoding="utf-8") as file:
        config.write(file)
    words = {word for value in config["global"].values() for word in value.split()}
    # An index in a folder links to files beside it.
    local = {Path(urlsplit(word).path).parent if word.startswith("file:") else Path(word) for word in words}
    there = sorted(one for one in local if one.is_absolute() and one.exists() and one != Path("/"))
    return [f"{path}:/etc/pip.conf:ro", *(f"{one}:{one}:ro" for one in there)]


@contextmanager
def unpacked(folder: Path, name: str) -> Iterator[Image]:
    """Mounts an image's files."""
    container = buildah(folder, "from", "--pull-never", name).strip()
    root = Path(buildah(folder, "mount", container).strip())
    try:
        yield read_image(root, json.loads(buildah(folder, "inspect", "--type", "image", name)))
    finally:
        buildah(folder, "umount", container)
        buildah(folder, "rm", container)


def read_image(root: Path, inspected: dict[str, Any]) -> Image:
    """Returns an image with what its configuration says; raises TrialError where that lacks something."""
    config = inspected["Docker"]["config"]
    try:
        kind, *probe = config["Healthcheck"]["Test"]
        entrypoint, user = config["Entrypoint"], config["User"]
    except (KeyError, TypeError) as error:
        raise TrialError(f"the image's configuration has no {error}") from error
    if kind != "CMD":
        raise TrialError(f"HEALTHCHECK is {kind}, which needs a shell")
    return Image(root, user, config["Env"], entrypoint, probe, config["Labels"])


@contextmanager
def running(image: Image) -> Iterator[subprocess.Popen[bytes]]:
    """Runs the image's command as the first process of a namespace."""
    command = image.command(image.entrypoint, first=True)
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stderr=log) as service:  # noqa: S603
        try:
            yield service
        except TrialError as error:
            log.seek(0)
            raise TrialError(f"{error}\n{log.read().decode(errors='replace')[-2000:]}") from error
        finally:
            service.kill()


def wait_until_ready(image: Image, service: subprocess.Popen[bytes]) -> None:
    """Asks as the HEALTHCHECK does until it says yes; raises TrialError."""
    end = time.monotonic() + READY_SECONDS
    while subprocess.run(image.command(image.probe, first=False), capture_output=True, check=False).returncode:  # noqa: S603
        if service.poll() is not None:
            raise TrialError(f"the service ended with exit code {service.returncode}")
        if time.monotonic() > end:
            raise TrialError(f"the HEALTHCHECK has not said yes for {READY_SECONDS:.0f} s")


def translate(folder: Path) -> None:
    """Has the service look at itself from outside, with a real drawing; raises TrialError."""
    call([sys.executable, "-m", "service.trial", "--server", "127.0.0.1:50051"])
    drawing, picture = folder / "drawing.png", folder / "picture.png"
    draw(drawing)
    call([sys.executable, "-m", "lapis", str(drawing), "--server", "127.0.0.1:50051", "--output", str(picture)])
    if not picture.stat().st_size:
        raise TrialError("the translation is empty")


def draw(path: Path) -> None:
    """Draws a face in black lines on white."""
    from PIL import Image as Pixels  # noqa: PLC0415 (the rest needs the standard library alone)
    from PIL import ImageDraw  # noqa: PLC0415

    picture = Pixels.new("RGB", (256, 256), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((30, 30, 226, 226), outline="black", width=5)
    pen.arc((80, 90, 176, 190), 20, 160, fill="black", width=5)
    for left in (88, 148):
        pen.ellipse((left, 90, left + 20, 110), fill="black")
    picture.save(path)


def stop(service: subprocess.Popen[bytes]) -> None:
    """Ends the first process as an orchestrator does; raises TrialError where it does not end well."""
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text(encoding="ascii").split()
    os.kill(int(children[0]), signal.SIGTERM)
    try:
        code = service.wait(40)
    except subprocess.TimeoutExpired as error:
        raise TrialError("SIGTERM did not end it within 40 s") from error
    if code:
        raise TrialError(f"SIGTERM ended it with exit code {code}")


def call(command: list[str]) -> str:
    """Runs a command and returns what it printed; raises TrialError with the end of what it said otherwise."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode:
        said = (ran.stderr.strip() or ran.stdout.strip())[-2000:]
        raise TrialError(f"{' '.join(command[:1] + command[-2:])}: {said}")
    return ran.stdout


def say(line: str) -> None:
    """Prints a step that is done."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
