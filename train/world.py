"""The processes that train together under `torchrun`: which one this is, and what they tell each other.

    ALONE               a world of one process: nothing is sent, nothing is wrapped
    World.parallel      a network whose gradients are averaged over all processes
    World.mean, any     figures and questions that all must answer alike
    World.from_main     what one process does, and all get the result or the error of
    World.together      what each process does, and none goes on where one of them fails

Everything here is called by all processes in the same order; where one is gone, the others end.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import uuid4

import torch
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from train.errors import LostProcess, PairsError, ToldByMain, TrainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

T = TypeVar("T")
ENVIRONMENT = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}  # torchrun's, with what one process alone has
PATIENCE = timedelta(hours=1)  # the main process may decode a whole data set while the others wait for its verdict


@dataclass(frozen=True)
class World:
    """This process among those that train together; `local_rank` counts those of this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def main(self) -> bool:
        """Tells whether this is the process that writes and speaks for all."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Tells whether there is no other process."""
        return self.size == 1

    def __str__(self) -> str:
        return f"process {self.rank} on {socket.gethostname()}"

    def parallel(self, network: nn.Module) -> nn.Module:
        """Returns what to call in place of `network`, so that its gradients are averaged over all processes.

        To be wrapped after its last move: gradients are exchanged in the memory format of the weights. Buffers are
        left alone: what a batch norm gathers in the main process is what counts, and a broadcast before each call
        would change statistics that the last call still needs.
        """
        return network if self.alone else DistributedDataParallel(network, forward_sync_buffers=False)

    def mean(self, values: Tensor) -> Tensor:
        """Returns the mean of `values` over all processes; not a number where it is none in any of them."""
        if self.alone:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.size

    def any(self, *answers: bool) -> tuple[bool, ...]:
        """Tells of each question whether any process says yes."""
        if self.alone:
            return answers
        return tuple(bool(share > 0) for share in self.mean(torch.tensor(answers, dtype=torch.float32)))

    def share(self, network: nn.Module) -> None:
        """Gives all processes the main process's weights and buffers."""
        if self.alone:
            return
        for value in network.state_dict().values():
            dense = value.contiguous()
            dist.broadcast(dense, src=0)
            value.copy_(dense)

    def gather(self, mine: T) -> list[T]:
        """Returns what each process holds, in the order of their ranks."""
        if self.alone:
            return [mine]
        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, mine)
        return everyone

    def from_main(self, make: Callable[[], T]) -> T:
        """Lets the main process alone make something, and returns it in all of them.

        Where that raises one of our errors the others raise ToldByMain: one of them is enough to say it.
        """
        if self.alone:
            return make()
        answer: list[Any] = [None]
        if self.main:
            try:
                answer = [make()]
            except (TrainError, PairsError) as error:
                self._broadcast([ToldByMain(str(error))])
                raise
        self._broadcast(answer)
        if isinstance(answer[0], ToldByMain):
            raise answer[0]
        made: T = answer[0]
        return made

    def together(self, make: Callable[[], T]) -> T:
        """Returns what this process makes, once all have made theirs.

        Where that raises TrainError in any of them the main process raises it, naming the process, and the others
        raise ToldByMain.
        """
        if self.alone:
            return make()
        made: T | None = None
        try:
            made, failure = make(), ""
        except TrainError as error:
            failure = str(error) if self.main else f"{self}: {error}"
        failures = [failure for failure in self.gather(failure) if failure]
        if failures:
            raise (TrainError if self.main else ToldByMain)(failures[0])
        return cast("T", made)

    def _broadcast(self, answer: list[Any]) -> None:
        dist.broadcast_object_list(answer, src=0, device=torch.device("cpu"))


ALONE = World()


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Meets the other processes that `torchrun` started, if it did, until the block ends.

    Raises TrainError where the environment is not torchrun's, this machine has fewer GPUs than processes, or the others
    cannot be reached.
    """
    world = _from_environment()
    if world.alone:
        yield world
        return
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        _take_gpu(world)
    # GPUs exchange gradients through NCCL, which knows only them; objects and questions go through gloo.
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    try:
        store = _store_of_this_attempt(world)
        dist.init_process_group(backend, store=store, rank=world.rank, world_size=world.size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise TrainError(f"{world}: cannot meet the others ({_first_line(error)})") from error
    with _lost_processes_told(world):
        yield world
    dist.destroy_process_group()  # not after an error: the others may be gone, and it would wait for them


def _from_environment() -> World:
    said = {name: os.environ.get(name, default) for name, default in ENVIRONMENT.items()}
    try:
        world = World(*(int(value) for value in said.values()))
    except ValueError:
        world = World(size=0)
    if not 0 <= world.rank < world.size or world.local_rank < 0 or (not world.alone and "RANK" not in os.environ):
        listed = ", ".join(f"{name} {value}" for name, value in said.items())
        raise TrainError(f"{listed}: not as torchrun sets them; several processes are started with torchrun")
    return world


def _take_gpu(world: World) -> None:
    count = torch.cuda.device_count()
    if world.local_rank >= count:
        raise TrainError(f"{world}: no GPU is left for it, here are {count}; start with torchrun --nproc-per-node gpu")
    torch.cuda.set_device(world.local_rank)


def _store_of_this_attempt(world: World) -> Store:
    """Returns a place in torchrun's store where nothing lies but what this attempt puts there.

    torchrun keeps its store when it starts the processes anew, and addresses of processes that are gone with it: who
    finds one of these waits for ever. So the main process names the attempt, and the others believe a name only when
    it greets them.
    """
    store, _, _ = next(rendezvous("env://", timeout=PATIENCE))
    attempt, me = "", uuid4().hex
    if world.main:
        attempt = me
        store.set("attempt", attempt)
        for rank in range(1, world.size):
            store.set(f"{attempt}/{store.get(f'{attempt}/{rank}').decode()}", "welcome")
        return PrefixStore(attempt, store)
    while not attempt or not store.check([f"{attempt}/{me}"]):
        attempt = store.get("attempt").decode()
        store.set(f"{attempt}/{world.rank}", me)
        time.sleep(0.05)
    return PrefixStore(attempt, store)


@contextmanager
def _lost_processes_told(world: World) -> Iterator[None]:
    """Raises an error of ours in place of what the backends raise where a process is gone; one process says it."""
    try:
        yield
    except RuntimeError as error:
        # NCCL's errors have a class, gloo's only their text.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        kind = LostProcess if world.main else ToldByMain
        raise kind(
            f"another process is gone ({_first_line(error)}); torchrun's summary says which. "
            "--resume goes on from the last checkpoint"
        ) from error


def _first_line(error: Exception) -> str:
    """Returns the first sentence of a backend's error, without the place in its sources that it begins with."""
    return str(error).split("\n")[0].split(".cc:")[-1].split("] ", 1)[-1].split(". ")[0] or type(error).__name__
