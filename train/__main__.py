"""The command `lapis-train`."""

from __future__ import annotations

import sys

from lapis.command import run as run_command

from train.errors import Diverged, PairsError, TrainError
from train.settings import TrainSettings

INTERRUPTED = 130  # as a shell reports Ctrl-C


def main() -> None:
    """Runs `lapis-train`."""
    run_command("lapis-train", TrainSettings, command, (TrainError, PairsError), extra="train")


def command(settings: TrainSettings) -> int:
    """Trains as the settings say; returns 0, 1 where the run diverged, or 130 where it was interrupted."""
    # Imported here: torch takes seconds to load, and an installation of the service alone has none.
    from train.loop import train  # noqa: PLC0415
    from train.prepare import announcement, prepare  # noqa: PLC0415

    run = prepare(settings)
    if run.finished:
        raise TrainError(f"{run.folder}: finished after {run.state.step} steps; --n-epochs or --max-steps adds more")
    print(announcement(run))
    try:
        train(run)
    except Diverged as error:
        print(f"lapis-train: error: {error}", file=sys.stderr)
        return 1
    if run.interrupted and not run.finished:
        print(f"saved {run.checkpoint}\nresume with: lapis-train --resume {run.folder}")
        return INTERRUPTED
    print(f"done: {run.checkpoint}\nexport with: lapis-export {run.folder / 'latest'} --output models/NAME/1")
    return 0


if __name__ == "__main__":
    main()
