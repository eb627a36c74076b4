"""How large a picture may be before the service refuses it unread."""

from __future__ import annotations

from dataclasses import dataclass

from service.errors import InvalidPicture, PictureTooLarge


@dataclass(frozen=True)
class Limits:
    """Upper limits on a picture: bytes of the file, pixels along a side, pixels in all, and pixels given to a model.

    The last is for models that take any size.
    """

    max_bytes: int
    max_side: int
    max_pixels: int
    max_model_pixels: int = 2_097_152

    def check_bytes(self, size: int) -> None:
        """Raises PictureTooLarge for a file of more than `max_bytes` bytes."""
        if size > self.max_bytes:
            raise PictureTooLarge(f"the picture has {size:,} bytes; at most {self.max_bytes:,} are accepted")

    def check_sides(self, height: int, width: int) -> None:
        """Raises InvalidPicture where there is no pixel at all, PictureTooLarge where there are too many."""
        if height < 1 or width < 1:
            raise InvalidPicture(f"the picture is {width} x {height} pixels; both sides must be at least 1")
        if max(height, width) > self.max_side:
            raise PictureTooLarge(
                f"the picture is {width:,} x {height:,} pixels; at most {self.max_side:,} along a side are accepted"
            )
        if height * width > self.max_pixels:
            raise PictureTooLarge(
                f"the picture is {width:,} x {height:,} = {height * width:,} pixels; "
                f"at most {self.max_pixels:,} in all are accepted"
            )

    def check_model_size(self, height: int, width: int) -> None:
        """Raises PictureTooLarge for a picture that is too large for any model that takes many sizes."""
        if height * width > self.max_model_pixels:
            raise PictureTooLarge(
                f"the model would be given {width:,} x {height:,} = {height * width:,} pixels at once; at most "
                f"{self.max_model_pixels:,} are accepted. Send a smaller picture, or have it cut into tiles (FIT_TILE)"
            )
