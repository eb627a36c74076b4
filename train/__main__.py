"""The command `lapis-train`."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from lapis.command import run as run_command

from train.errors import Diverged, LostProcess, PairsError, ToldByMain, TrainError
from train.settings import TrainSettings

if TYPE_CHECKING:
    from train.loop import Run
    from train.world import World

SIGNALLED = 128  # a shell reports a signal's number on top of this: 130 after Ctrl-C, 143 after SIGTERM


def main() -> None:
    """Runs `lapis-train`."""
    if os.getpid() == 1:  # the first process of a container hears no SIGTERM without a handler
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(SIGNALLED + number))
    run_command("lapis-train", TrainSettings, command, (TrainError, PairsError), extra="train")


def command(settings: TrainSettings) -> int:
    """Trains as the settings say, beside the other processes where `torchrun` started several.

    Returns 0, 1 where the run diverged or a process was lost, or 130 or 143 where it was interrupted.
    """
    # Imported here: torch takes seconds to load, and an installation of the service alone has none.
    from train.world import ALONE, joined  # noqa: PLC0415

    world = ALONE
    try:
        with joined(settings.device) as world:
            code = _train(settings, world)
    except (Diverged, LostProcess) as error:
        print(f"lapis-train: error: {error}", file=sys.stderr)
        code = 1
    except ToldByMain:
        code = 1
    return code if world.alone else _leave(code)


def _leave(code: int) -> NoReturn:
    """Ends the process at once: what the backends leave running would now and then abort an orderly exit."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _train(settings: TrainSettings, world: World) -> int:
    from train.loop import train  # noqa: PLC0415
    from train.prepare import announcement, prepare  # noqa: PLC0415

    try:
        run = prepare(settings, world)
        if run.finished:
            return _tell(run, f"finished already, after {run.state.step} steps: {run.checkpoint}")
        _tell(run, announcement(run))
        train(run)
    except (TrainError, PairsError) as error:
        raise _placed(error, world) from error
    return _ending(run)


def _ending(run: Run) -> int:
    """Says how the run ended and what comes next; returns the exit code."""
    if run.interrupted and not run.finished:
        _tell(run, f"saved {run.checkpoint}\nresume with: lapis-train --resume {run.folder}")
        return SIGNALLED + (run.signalled or signal.SIGTERM)
    where = run.folder / "latest"
    return _tell(run, f"done: {run.checkpoint}\nexport with: lapis-export {where} --output models/NAME/1")


def _tell(run: Run, what: str) -> int:
    """Prints it, once for all processes."""
    if run.state.world.main:
        print(what, flush=True)
    return 0


def _placed(error: TrainError | PairsError, world: World) -> TrainError | PairsError:
    """Names the process where it is not the main one; what befalls all alike is left to that."""
    if world.main or isinstance(error, ToldByMain):
        return error
    if isinstance(error, Diverged):
        return ToldByMain(str(error))
    return TrainError(f"{world}: {error}")


if __name__ == "__main__":
    main()
