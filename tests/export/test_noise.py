from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2  # type: ignore[import-untyped]
from torch import nn

from export import optimize
from export.errors import OptionError
from export.graph import to_onnx
from export.metadata import PictureSpec
from export.noise import SeededDropout, drawn_from, seed_dropout
from export.proof import open_session
from export.translator import Translator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Masks = NDArray[np.bool_]

EXTREMES = (-(2**63), -(2**63) + 1, -(2**32), -2, -1, 0, 1, 2, 2**32 - 1, 2**32, 2**62, 2**63 - 1)
PLACES = ((0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0), (0, 15, 3, 2), (1, 0, 0, 0), (2, 3, 40, 21))
# For these seeds the words at these places: layer, group of channels, row, column.
GOLDEN = {
    0: "bd7ef6b6 55a183be 37a4ecaf af762357 6e1c4efd 315646cb",
    1: "5f972744 6c03d8b6 e54059b4 97f3325c 663ff55a bf3ccf5a",
    -1: "e72586c4 e1bdc53f 900a4f18 24cc566a 8a8ce03c 2969e822",
    42: "9a2c19ad 655da71e 3dc05c8d 38adf847 22652994 ef3bb1eb",
    2**63 - 1: "45f57a00 789ffe18 d70f4127 b8d94af5 5a1c2a9f 3807b4ac",
    -(2**63): "a34cabef e2dda4fd 81160c2c 1b1f33d3 83cdb72d ddc14de5",
}
seeds = st.integers(-(2**63), 2**63 - 1)


class Noise(nn.Module):
    """As many layers of dropout as asked, side by side, over a picture's channels and many more beside them."""

    def __init__(self, channels: int, layers: int = 1) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.ModuleList(nn.Dropout(0.5) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        full = (x[:, :1] * 0.0 + 0.5).expand(-1, self.channels, -1, -1)
        return torch.cat([layer(full) for layer in self.layers], dim=1) * 2.0 - 1.0


def spec(channels: int, *, free: bool = False) -> PictureSpec:
    return PictureSpec.of(8, 8, channels, multiple=1 if free else 0, smallest=1 if free else 0)


def noisy(channels: int, layers: int = 1, *, free: bool = False) -> Translator:
    """Returns a translator whose picture is the masks, channel by channel: 0 where dropped, 255 where kept."""
    made = spec(channels * layers, free=free)
    return Translator(seed_dropout(Noise(channels, layers)), given=spec(1, free=free), made=made, seeded=True)


def masks(drawn: Sequence[int], channels: int = 32, height: int = 8, width: int = 8, layers: int = 1) -> Masks:
    """Returns what is kept, [seeds, layers * channels, height, width]."""
    generator = seed_dropout(Noise(channels, layers))
    with drawn_from(generator, torch.tensor(drawn, dtype=torch.int64)):
        kept: Masks = generator(torch.zeros(len(drawn), 1, height, width)).numpy() > 0
    return kept


def word(seed: int, layer: int, group: int, row: int, column: int) -> int:
    """The construction by the letter of the module's docstring, in Python's own integers."""

    def swap(v: int) -> int:
        return (v << 32 | v >> 32) % 2**64

    step = 0x9E3779B97F4A7C15
    v = (seed + (layer + 1) * step) % 2**64
    for _ in range(3):
        v = (swap(v * (2 * v + 1) % 2**64) + step) % 2**64
    key = 2 * v + 1
    a = (v + group * 2**32 + row * 2**16 + column) * key % 2**64
    b = (a + key) % 2**64
    v = swap((a * a + a) % 2**64)
    v = swap((v * v + b) % 2**64)
    v = swap((v * v + a) % 2**64)
    return (v * v + b) % 2**64 >> 32


def by_the_letter(seed: int, layer: int, channels: int, height: int, width: int) -> Masks:
    return np.array(
        [
            [[not word(seed, layer, c // 32, y, x) >> c % 32 & 1 for x in range(width)] for y in range(height)]
            for c in range(channels)
        ]
    )


@given(seed=seeds, channels=st.integers(1, 70), height=st.integers(1, 4), width=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_masks_are_those_of_the_documented_construction(seed: int, channels: int, height: int, width: int) -> None:
    found = masks([seed], channels, height, width, layers=2)[0]
    for layer in (0, 1):
        wanted = by_the_letter(seed, layer, channels, height, width)
        assert np.array_equal(found[layer * channels : (layer + 1) * channels], wanted)


@pytest.mark.parametrize("seed", GOLDEN)
def test_masks_never_change(seed: int) -> None:
    found = []
    for layer, group, row, column in PLACES:
        kept = masks([seed], (group + 1) * 32, row + 1, column + 1, layer + 1)[0, -32:, row, column]
        found.append(f"{sum(1 << bit for bit in range(32) if not kept[bit]):08x}")
    assert " ".join(found) == GOLDEN[seed]


@pytest.fixture(scope="module")
def graphs() -> Callable[..., bytes]:
    """Exports the translator of `noisy`, each once."""
    made: dict[tuple[int, int, bool], bytes] = {}

    def make(channels: int, layers: int = 1, *, free: bool = False) -> bytes:
        key = (channels, layers, free)
        if key not in made:
            made[key] = optimize.clean(to_onnx(noisy(channels, layers, free=free))).SerializeToString()
        return made[key]

    return make


def run(session: onnxruntime.InferenceSession, drawn: Sequence[int], height: int = 8, width: int = 8) -> Masks:
    """Returns what the graph keeps, [seeds, channels, height, width]."""
    pictures = np.zeros((len(drawn), height, width, 1), np.uint8)
    (kept,) = session.run(None, {"image": pictures, "seed": np.array(drawn, np.int64)})
    kept_masks: Masks = np.moveaxis(kept, 3, 1) > 0
    return kept_masks


@pytest.mark.parametrize(("channels", "free"), [(4, False), (512, False), (33, False), (32, True), (70, True)])
def test_graph_draws_the_masks_of_pytorch(graphs: Callable[..., bytes], channels: int, free: bool) -> None:
    session = onnxruntime.InferenceSession(graphs(channels, 2, free=free))
    for height, width in [(8, 8), (1, 1), (3, 17), (40, 2)] if free else [(8, 8)]:
        found = run(session, EXTREMES, height, width)
        assert np.array_equal(found, masks(EXTREMES, channels, height, width, layers=2))


@given(batch=st.lists(seeds, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_a_row_is_its_own_seeds_whatever_is_beside_it(batch: list[int]) -> None:
    together = masks(batch)
    for row, seed in enumerate(batch):
        assert np.array_equal(together[row], masks([seed])[0])


@given(one=seeds, other=seeds)
@settings(max_examples=50, deadline=None)
def test_different_seeds_differ_in_half_of_the_places(one: int, other: int) -> None:
    if one != other:
        first, second = masks([one, other], channels=64)
        # 4,096 places: 3.2 % are four standard deviations, and one draw in 16,000 is beyond.
        assert 0.46 < np.mean(first != second) < 0.54


def test_a_larger_map_begins_as_a_smaller_one() -> None:
    large = masks([7], channels=96, height=12, width=20)
    assert np.array_equal(large[:, :40, :5, :9], masks([7], channels=40, height=5, width=9))


@pytest.fixture(scope="module")
def many() -> Masks:
    """1,000 neighbouring seeds around 0, two layers of 64 channels: [1000, 128, 8, 8]."""
    return masks(range(-500, 500), channels=64, layers=2)


def test_half_is_dropped(many: Masks) -> None:
    assert binomtest(int(many.sum()), many.size).pvalue > 0.001
    of_seeds = (many.reshape(1000, -1).mean(1) - 0.5) / (0.5 / np.sqrt(many[0].size))
    assert np.abs(of_seeds).max() < 5


def test_no_place_is_dropped_more_often_than_another(many: Masks) -> None:
    of_places = many.reshape(1000, -1).sum(0)
    assert 0.001 < chi2.cdf(((of_places - 500) ** 2 / 250).sum(), of_places.size) < 0.999


@pytest.mark.parametrize("axis", range(4), ids=["seeds", "channels", "rows", "columns"])
@pytest.mark.parametrize("step", [1, 2, 4])
def test_neighbours_know_nothing_of_each_other(many: Masks, axis: int, step: int) -> None:
    agree = np.take(many, range(step, many.shape[axis]), axis) == np.take(many, range(many.shape[axis] - step), axis)
    assert binomtest(int(agree.sum()), agree.size).pvalue > 1e-4


def test_layers_and_words_know_nothing_of_each_other(many: Masks) -> None:
    layers = many[:, :64] == many[:, 64:]
    words = many[:, :32] == many[:, 32:64]
    assert binomtest(int(layers.sum()), layers.size).pvalue > 1e-4
    assert binomtest(int(words.sum()), words.size).pvalue > 1e-4


@pytest.mark.parametrize("bit", range(64))
def test_every_bit_of_the_seed_moves_half_of_the_mask(bit: int) -> None:
    drawn = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 64, endpoint=True)
    flipped = (drawn.view(np.uint64) ^ np.uint64(1 << bit)).view(np.int64)
    moved = masks(drawn.tolist(), height=4, width=4) != masks(flipped.tolist(), height=4, width=4)
    assert binomtest(int(moved.sum()), moved.size).pvalue > 1e-5


def test_what_is_kept_is_doubled_as_dropout_does() -> None:
    dropped = seed_dropout(nn.Sequential(nn.Dropout(0.5)))
    x = torch.randn(2, 40, 5, 6)
    with drawn_from(dropped, torch.tensor([3, 4])):
        found = dropped(x)
    assert torch.equal(found[found != 0], (2 * x)[found != 0])
    assert 0.4 < (found == 0).float().mean() < 0.6


def test_generator_given_stays_as_it_is(make_generator: Callable[..., nn.Module]) -> None:
    generator = make_generator()
    seeded = seed_dropout(generator)
    assert not [module for module in generator.modules() if isinstance(module, SeededDropout)]
    assert len([module for module in seeded.modules() if isinstance(module, SeededDropout)]) == 3
    assert [name for name, _ in seeded.named_modules()] == [name for name, _ in generator.named_modules()]


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (nn.Sequential(nn.ReLU()), "this generator has no dropout to draw"),
        (nn.Sequential(nn.Dropout(0.0)), "this generator has no dropout to draw"),
        (nn.Sequential(nn.Dropout(0.2)), "0 drops 0.2 of its input; only 0.5 can be seeded"),
    ],
)
def test_noise_that_is_not_there_is_refused(generator: nn.Module, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        seed_dropout(generator)


def test_nothing_is_drawn_without_seeds() -> None:
    generator = seed_dropout(Noise(4))
    with pytest.raises(RuntimeError, match="no seeds to draw from"):
        generator(torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="needs a seed for each picture"):
        noisy(4)(torch.zeros(1, 8, 8, 1, dtype=torch.uint8))


def test_graph_needs_no_operator_that_a_gpu_has_not(graphs: Callable[..., bytes]) -> None:
    # Of ONNX's bitwise operators ONNX Runtime has kernels for the CPU alone.
    model = onnx.load_model_from_string(graphs(64, 2, free=True))
    assert not [node.op_type for node in model.graph.node if node.op_type.startswith(("Bit", "Random", "Bernoulli"))]


@pytest.mark.cuda
@pytest.mark.parametrize("channels", [4, 33, 512])
def test_gpu_draws_the_same_masks(graphs: Callable[..., bytes], channels: int) -> None:
    try:
        session = open_session(graphs(channels, 2), "cuda")
    except OptionError as error:
        pytest.skip(str(error))
    assert np.array_equal(run(session, EXTREMES), masks(EXTREMES, channels, layers=2))
