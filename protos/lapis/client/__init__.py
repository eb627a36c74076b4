"""The Python client of Lapis, for threads (`Client`) and for asyncio (`AsyncClient`).

    with Client("127.0.0.1:50051") as client:
        translation = client.translate(Path("cat.png"), model="edges2emoji", format="jpeg")
        Path("cat.jpg").write_bytes(translation.picture)

It needs grpcio, protobuf and googleapis-common-protos, and nothing else.
"""

from lapis.client.clients import DEFAULT_ADDRESS, AsyncClient, Client
from lapis.client.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidPicture,
    InvalidRequest,
    ModelNotFound,
    NotReady,
    PictureTooLarge,
    QueueFull,
    TranslationError,
    Unreachable,
)
from lapis.client.messages import (
    Fit,
    Format,
    Model,
    ModelState,
    Picture,
    PictureSpec,
    Size,
    Tensor,
    Timings,
    TranslateOptions,
    Translation,
)

__all__ = [
    "DEFAULT_ADDRESS",
    "AsyncClient",
    "Client",
    "DeadlineExceeded",
    "Fit",
    "Format",
    "InferenceFailed",
    "InvalidPicture",
    "InvalidRequest",
    "Model",
    "ModelNotFound",
    "ModelState",
    "NotReady",
    "Picture",
    "PictureSpec",
    "PictureTooLarge",
    "QueueFull",
    "Size",
    "Tensor",
    "Timings",
    "TranslateOptions",
    "Translation",
    "TranslationError",
    "Unreachable",
]
