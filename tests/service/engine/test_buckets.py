from __future__ import annotations

from typing import Any

import pytest

from service.engine.buckets import Buckets, choose_buckets, powers_of_two
from service.engine.options import EngineOptions
from service.models.metadata import Batching

AUTHOR = {"max_batch_size": 8, "buckets": (1, 4, 8)}


@pytest.mark.parametrize(
    ("on_gpu", "settings", "metadata", "sizes", "padded"),
    [
        # Left to the device.
        (False, {}, {}, (1,), False),
        (True, {}, {}, (1, 2, 4, 8), True),
        # Settings.
        (False, {"max_batch_size": 3}, {}, (1, 2, 3), False),
        (True, {"max_batch_size": 6}, {}, (1, 2, 4, 6), True),
        (True, {"max_batch_size": 1}, {}, (1,), True),
        (False, {"buckets": (2, 5)}, {}, (2, 5), True),
        # The model's metadata.
        (False, {}, {"max_batch_size": 2}, (1, 2), False),
        (True, {}, {"max_batch_size": 2}, (1, 2), True),
        (False, {}, AUTHOR, (1, 4, 8), True),
        (True, {}, {"buckets": (1, 4)}, (1, 4), True),
        # Settings win over metadata.
        (True, {"buckets": (2,)}, AUTHOR, (2,), True),
        (True, {"max_batch_size": 6}, AUTHOR, (1, 4, 6), True),
        (True, {"max_batch_size": 16}, AUTHOR, (1, 4, 8, 16), True),
        (True, {"max_batch_size": 4}, AUTHOR, (1, 4), True),
        (False, {"max_batch_size": 2}, {"max_batch_size": 4}, (1, 2), False),
    ],
)
def test_sizes_of_batches(
    settings: dict[str, Any], metadata: dict[str, Any], sizes: tuple[int, ...], *, on_gpu: bool, padded: bool
) -> None:
    found = choose_buckets(EngineOptions(**settings), Batching(**metadata), on_gpu=on_gpu)
    assert found == Buckets(sizes, padded)


@pytest.mark.parametrize(("most", "powers"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (8, (1, 2, 4, 8))])
def test_powers_of_two_end_at_the_most(most: int, powers: tuple[int, ...]) -> None:
    assert powers_of_two(most) == powers
