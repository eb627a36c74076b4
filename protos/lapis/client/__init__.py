"""The Python client of Lapis, for threads (`Client`) and for asyncio (`AsyncClient`).

    with Client("127.0.0.1:50051") as client:
        translation = client.translate(Path("cat.png"), model="edges2emoji", format="jpeg")
        Path("cat.jpg").write_bytes(translation.picture)

It needs grpcio, protobuf and googleapis-common-protos, and nothing else.
"""

from lapis.client.address import DEFAULT_ADDRESS
from lapis.client.answers import Model, ModelState, PictureSpec, Timings, Translation
from lapis.client.channel import Balancing, ConnectOptions
from lapis.client.clients import AsyncClient, Client
from lapis.client.errors import (
    CallerLimit,
    ControlDisabled,
    DeadlineExceeded,
    DeadlineUnreachable,
    EngineBroken,
    InferenceFailed,
    InvalidPicture,
    InvalidRequest,
    ModelNotFound,
    ModelUnusable,
    NotReady,
    Overloaded,
    PictureTooLarge,
    QueueFull,
    TranslationError,
    Unauthenticated,
    Unreachable,
)
from lapis.client.messages import Array, Fit, Format, Picture, Priority, Samples, Size, Tensor, TranslateOptions
from lapis.client.stream import Request, StreamResult

__all__ = [
    "DEFAULT_ADDRESS",
    "Array",
    "AsyncClient",
    "Balancing",
    "CallerLimit",
    "Client",
    "ConnectOptions",
    "ControlDisabled",
    "DeadlineExceeded",
    "DeadlineUnreachable",
    "EngineBroken",
    "Fit",
    "Format",
    "InferenceFailed",
    "InvalidPicture",
    "InvalidRequest",
    "Model",
    "ModelNotFound",
    "ModelState",
    "ModelUnusable",
    "NotReady",
    "Overloaded",
    "Picture",
    "PictureSpec",
    "PictureTooLarge",
    "Priority",
    "QueueFull",
    "Request",
    "Samples",
    "Size",
    "StreamResult",
    "Tensor",
    "Timings",
    "TranslateOptions",
    "Translation",
    "TranslationError",
    "Unauthenticated",
    "Unreachable",
]
