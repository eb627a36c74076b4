from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.errors import InvalidPicture, PictureTooLarge
from service.limits import Limits
from service.picture.decode import decode, from_raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Numbers = NDArray[np.int_]
    Save = Callable[..., bytes]
    BuildPng = Callable[..., bytes]
    Options = dict[str, object]

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # colour types of PNG


@pytest.mark.parametrize(
    ("file_format", "options"), [("PNG", {}), ("PNG", {"interlace": True}), ("WEBP", {"lossless": True})]
)
def test_lossless_picture_comes_out_as_it_went_in(
    file_format: str, options: Options, gradients: Pixels, save: Save, limits: Limits
) -> None:
    assert np.array_equal(decode(save(gradients, file_format, **options), 3, limits), gradients)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"subsampling": 0}), ("WEBP", {})],
)
def test_lossy_picture_comes_out_nearly_as_it_went_in(
    file_format: str, options: Options, gradients: Pixels, save: Save, limits: Limits
) -> None:
    pixels = decode(save(gradients, file_format, quality=95, **options), 3, limits)
    assert pixels.shape == gradients.shape
    assert np.abs(pixels.astype(int) - gradients).mean() < 3


@pytest.mark.parametrize("height", [511, 512, 513, 1024, 1500])
def test_tall_picture_comes_out_whole(height: int, save: Save, limits: Limits) -> None:
    picture = np.random.default_rng(height).integers(0, 256, (height, 3, 3), np.uint8)
    assert np.array_equal(decode(save(picture, "PNG"), 3, limits), picture)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_picture_of_one_pixel_is_a_picture(file_format: str, save: Save, limits: Limits) -> None:
    assert decode(save(np.full((1, 1, 3), 200, np.uint8), file_format), 3, limits).shape == (1, 1, 3)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_grey_picture_is_repeated_for_an_rgb_model(
    file_format: str, gradients: Pixels, save: Save, limits: Limits
) -> None:
    file = save(gradients[..., 0], file_format)
    grey = decode(file, 1, limits)
    assert grey.shape == (60, 90, 1)
    assert np.array_equal(decode(file, 3, limits), np.repeat(grey, 3, axis=2))


def test_rgb_picture_is_weighed_for_a_grey_model(gradients: Pixels, save: Save, limits: Limits) -> None:
    grey = decode(save(gradients, "PNG"), 1, limits)
    assert np.abs(grey[..., 0] - gradients @ [0.299, 0.587, 0.114]).max() <= 0.51


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_file_cannot_feed_a_model_of_other_channels(
    channels: int, gradients: Pixels, save: Save, limits: Limits
) -> None:
    with pytest.raises(InvalidPicture, match=f"the picture has 3 channels, the model takes {channels}"):
        decode(save(gradients, "PNG"), channels, limits)


@pytest.mark.parametrize(
    ("depth", "row", "expected"),
    [
        (1, bytes([0b01010000]), [0, 255, 0, 255]),
        (2, bytes([0b00011011]), [0, 85, 170, 255]),
        (4, bytes([0x0F, 0x38]), [0, 255, 51, 136]),
        (8, bytes([0, 1, 200, 255]), [0, 1, 200, 255]),
        (16, struct.pack(">4H", 0, 257, 32896, 65535), [0, 1, 128, 255]),
    ],
)
def test_grey_of_every_depth_spans_the_whole_range(
    depth: int, row: bytes, expected: list[int], build_png: BuildPng, limits: Limits
) -> None:
    assert decode(build_png((4, 2), depth, GREY, row), 1, limits)[..., 0].tolist() == [expected] * 2


@given(samples=st.lists(st.integers(0, 65535), min_size=12, max_size=12))
@pytest.mark.parametrize(("colour", "channels"), [(GREY, 1), (RGB, 3)])
def test_sixteen_bits_become_eight_within_one_level(
    colour: int, channels: int, samples: list[int], build_png: BuildPng, limits: Limits
) -> None:
    file = build_png((12 // channels, 1), 16, colour, struct.pack(">12H", *samples))
    pixels = decode(file, channels, limits)
    assert np.abs(pixels.reshape(-1) - np.array(samples) / 257).max() < 1


def _over_white(colour: Numbers, alpha: Numbers) -> NDArray[np.float64]:
    opacity = (alpha / 255).astype(np.float64)
    return np.floor(colour * opacity + 255 * (1 - opacity) + 0.5)


@pytest.mark.parametrize(("file_format", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_transparency_is_laid_over_white_exactly(
    file_format: str, options: Options, save: Save, limits: Limits
) -> None:
    value, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.stack([value, 255 - value, value // 2, alpha], axis=-1)
    expected = _over_white(rgba[..., :3], rgba[..., 3:])
    assert np.array_equal(decode(save(rgba.astype(np.uint8), file_format, **options), 3, limits), expected)


def test_grey_with_alpha_is_laid_over_white(save: Save, limits: Limits) -> None:
    value, alpha = np.meshgrid(np.arange(256), np.arange(256))
    file = save(np.stack([value, alpha], axis=-1).astype(np.uint8), "PNG")
    assert np.array_equal(decode(file, 1, limits)[..., 0], _over_white(value, alpha))


def test_sixteen_bit_alpha_is_laid_over_white(build_png: BuildPng, limits: Limits) -> None:
    clear = build_png((1, 1), 16, RGBA, struct.pack(">4H", 0, 65535, 257, 0))
    assert decode(clear, 3, limits).tolist() == [[[255, 255, 255]]]
    half = build_png((1, 1), 16, GREY_ALPHA, struct.pack(">2H", 0, 32896))
    assert decode(half, 1, limits).tolist() == [[[127]]]


COLOURS = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])


@pytest.mark.parametrize(
    ("alphas", "expected"),
    [
        (None, [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]),
        (bytes([0, 128]), [[255, 255, 255], [127, 255, 127], [0, 0, 255], [9, 9, 9]]),
        (bytes([255, 0, 255]), [[255, 0, 0], [255, 255, 255], [0, 0, 255], [9, 9, 9]]),
    ],
)
@pytest.mark.parametrize("pixels", [(2, bytes([0b00011011])), (8, bytes([0, 1, 2, 3]))])
def test_palette_gives_its_colours_with_and_without_transparency(
    pixels: tuple[int, bytes], alphas: bytes | None, expected: list[list[int]], build_png: BuildPng, limits: Limits
) -> None:
    depth, row = pixels
    tables = [(b"PLTE", COLOURS)] + ([(b"tRNS", alphas)] if alphas is not None else [])
    assert decode(build_png((4, 1), depth, PALETTE, row, *tables), 3, limits).tolist() == [expected]


@pytest.mark.parametrize(
    ("pixels", "key", "expected"),
    [
        ((1, bytes([0b01010000])), 0, [255, 255, 255, 255]),
        ((2, bytes([0b00011011])), 2, [0, 85, 255, 255]),
        ((4, bytes([0x0F, 0x38])), 3, [0, 255, 255, 136]),
        ((8, bytes([0, 100, 200, 254])), 100, [0, 255, 200, 254]),
        ((16, struct.pack(">4H", 0, 1000, 40000, 40001)), 40000, [0, 3, 255, 156]),
    ],
)
def test_transparent_grey_becomes_white(
    pixels: tuple[int, bytes], key: int, expected: list[int], build_png: BuildPng, limits: Limits
) -> None:
    depth, row = pixels
    file = build_png((4, 1), depth, GREY, row, (b"tRNS", struct.pack(">H", key)))
    assert decode(file, 1, limits)[..., 0].tolist() == [expected]


def test_transparent_colour_becomes_white(build_png: BuildPng, limits: Limits) -> None:
    file = build_png((2, 1), 8, RGB, bytes([1, 2, 3, 4, 5, 6]), (b"tRNS", struct.pack(">3H", 4, 5, 6)))
    assert decode(file, 3, limits).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_transparent_colour_of_sixteen_bits_becomes_white(build_png: BuildPng, limits: Limits) -> None:
    row = struct.pack(">6H", 0x0180, 0x0280, 0x0380, 0x0481, 0x0582, 0x0683)
    file = build_png((2, 1), 16, RGB, row, (b"tRNS", row[6:]))
    assert decode(file, 3, limits).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def _inks() -> Image.Image:
    levels = np.random.default_rng(1).integers(0, 256, (8, 8, 4), np.uint8).repeat(8, 0).repeat(8, 1)
    return Image.frombytes("CMYK", (64, 64), levels.tobytes())


def test_cmyk_jpeg_comes_out_in_its_colours(save: Save, limits: Limits) -> None:
    inks = _inks()
    pixels = decode(save(inks, "JPEG", quality=100, subsampling=0), 3, limits)
    assert np.abs(pixels.astype(int) - np.asarray(inks.convert("RGB"))).max() <= 4


def test_cmyk_jpeg_without_adobes_mark_comes_out_as_elsewhere(save: Save, limits: Limits) -> None:
    file = save(_inks(), "JPEG", quality=100, subsampling=0)
    adobe = file.index(b"\xff\xee\x00\x0eAdobe")
    unmarked = file[:adobe] + file[adobe + 16 :]
    assert np.array_equal(decode(unmarked, 3, limits), np.asarray(Image.open(BytesIO(unmarked)).convert("RGB")))


def test_rgb_jpeg_that_only_adobes_mark_tells_comes_out_in_its_colours(
    gradients: Pixels, save: Save, limits: Limits
) -> None:
    file = bytearray(save(gradients, "JPEG", quality=95, keep_rgb=True))
    frame, scan = file.index(b"\xff\xc0"), file.index(b"\xff\xda")
    file[frame + 10 : frame + 19 : 3] = file[scan + 5 : scan + 11 : 2] = bytes([1, 2, 3])  # were R, G, B
    assert np.abs(decode(bytes(file), 3, limits).astype(int) - gradients).max() < 12


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_animation_gives_its_first_frame(file_format: str, gradients: Pixels, save: Save, limits: Limits) -> None:
    others = [Image.fromarray(gradients[::-1].copy()), Image.new("RGB", (90, 60), "red")]
    file = save(gradients, file_format, save_all=True, append_images=others, lossless=True)
    assert np.array_equal(decode(file, 3, limits), gradients)


def test_colour_profile_is_ignored(gradients: Pixels, save: Save, limits: Limits) -> None:
    assert np.array_equal(decode(save(gradients, "PNG", icc_profile=b"no profile at all"), 3, limits), gradients)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("WEBP", {"lossless": True})],
)
def test_truncated_file_is_refused_wherever_it_ends(
    file_format: str, options: Options, gradients: Pixels, save: Save, limits: Limits
) -> None:
    file = save(gradients, file_format, **options)
    for end in range(len(file)):
        with pytest.raises(InvalidPicture):
            decode(file[:end], 3, limits)


def test_png_with_any_byte_overwritten_is_refused(gradients: Pixels, save: Save, limits: Limits) -> None:
    file = save(gradients, "PNG")
    for position in range(len(file)):
        with pytest.raises((InvalidPicture, PictureTooLarge)):
            decode(file[:position] + bytes([file[position] ^ 0x10]) + file[position + 1 :], 3, limits)


def test_palette_picture_without_a_palette_is_refused(build_png: BuildPng, limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match="damaged"):
        decode(build_png((4, 1), 8, PALETTE, bytes(4)), 3, limits)


def test_second_header_cannot_smuggle_in_a_larger_picture(build_png: BuildPng) -> None:
    larger = build_png((200, 200), 8, GREY, bytes(200))
    file = build_png((10, 10), 8, GREY, b"")[:33] + larger[8:]
    with pytest.raises(InvalidPicture, match="damaged"):
        decode(file, 1, Limits(max_bytes=10_000, max_side=100, max_pixels=10_000))


def test_decode_checks_the_limits_itself(gradients: Pixels, save: Save) -> None:
    with pytest.raises(PictureTooLarge):
        decode(save(gradients, "PNG"), 3, Limits(max_bytes=1_000_000, max_side=89, max_pixels=10_000))


def test_raw_pixels_are_taken_as_they_are(gradients: Pixels, limits: Limits) -> None:
    assert np.array_equal(from_raw(gradients.tobytes(), 60, 90, 3, model_channels=3, limits=limits), gradients)


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_raw_pixels_of_any_channels_feed_a_model_of_as_many(channels: int, limits: Limits) -> None:
    raw = bytes(range(2 * 3 * channels))
    pixels = from_raw(raw, 2, 3, channels, model_channels=channels, limits=limits)
    assert pixels.shape == (2, 3, channels)
    assert pixels.tobytes() == raw


def test_raw_grey_and_rgb_are_converted(gradients: Pixels, limits: Limits) -> None:
    grey = from_raw(gradients.tobytes(), 60, 90, 3, model_channels=1, limits=limits)
    assert np.array_equal(grey[..., 0], cv2.cvtColor(gradients, cv2.COLOR_RGB2GRAY))
    rgb = from_raw(grey.tobytes(), 60, 90, 1, model_channels=3, limits=limits)
    assert np.array_equal(rgb, np.repeat(grey, 3, axis=2))


@pytest.mark.parametrize(("given", "wanted"), [(4, 3), (2, 1), (1, 4), (3, 6)])
def test_raw_channels_that_fit_no_model_are_refused(given: int, wanted: int, limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match=f"the picture has {given} channels?, the model takes {wanted}"):
        from_raw(bytes(6 * given), 2, 3, given, model_channels=wanted, limits=limits)


@pytest.mark.parametrize("size", [0, 17, 19, 18_000])
def test_raw_bytes_must_be_as_many_as_the_shape_says(size: int, limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match=rf"has {size:,} bytes, but height 2 x width 3 x channels 3 makes 18"):
        from_raw(bytes(size), 2, 3, 3, model_channels=3, limits=limits)


@pytest.mark.parametrize("shape", [(0, 3, 3), (3, 0, 3), (3, 3, 0), (-3, -3, 3), (3, 3, -1)])
def test_raw_shape_without_pixels_is_refused(shape: tuple[int, int, int], limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match="must be at least 1"):
        from_raw(bytes(27), *shape, model_channels=3, limits=limits)


def test_raw_sides_are_limited(limits: Limits) -> None:
    with pytest.raises(PictureTooLarge, match="at most 8,192 along a side"):
        from_raw(b"", 8193, 1, 3, model_channels=3, limits=limits)


@given(samples=st.lists(st.integers(0, 65535), min_size=6, max_size=6))
def test_raw_samples_of_sixteen_bits_are_little_endian(samples: list[int], limits: Limits) -> None:
    data = struct.pack("<6H", *samples)
    kept = from_raw(data, 1, 2, 3, model_channels=3, limits=limits, dtype="uint16", model_dtype="uint16")
    assert kept.dtype == np.uint16
    assert kept.ravel().tolist() == samples
    shortened = from_raw(data, 1, 2, 3, model_channels=3, limits=limits, dtype="uint16")
    assert shortened.dtype == np.uint8
    assert shortened.ravel().tolist() == [sample >> 8 for sample in samples]


@given(samples=st.binary(min_size=6, max_size=6))
def test_raw_samples_of_eight_bits_fill_sixteen_and_come_back(samples: bytes, limits: Limits) -> None:
    deep = from_raw(samples, 1, 2, 3, model_channels=3, limits=limits, model_dtype="uint16")
    assert deep.ravel().tolist() == [sample * 257 for sample in samples]
    back = from_raw(deep.tobytes(), 1, 2, 3, model_channels=3, limits=limits, dtype="uint16")
    assert back.tobytes() == samples


@pytest.mark.parametrize("size", [0, 18, 35, 37])
def test_raw_bytes_of_sixteen_bits_must_be_twice_as_many(size: int, limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match=rf"has {size} bytes, .* channels 3 of uint16 makes 36"):
        from_raw(bytes(size), 2, 3, 3, model_channels=3, limits=limits, dtype="uint16")
