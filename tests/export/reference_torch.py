"""The references' generators and discriminator, built anew from their tensor names, to compare ours with.

Each is the nest of `nn.Sequential` that gives the reference's own names. Nothing of Lapis is used.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn


def _norm(norm: str, channels: int) -> nn.Module:
    return {
        "batch": nn.BatchNorm2d,
        "instance": nn.InstanceNorm2d,
        "instance-affine": partial(nn.InstanceNorm2d, affine=True),
        "instance-old": partial(nn.InstanceNorm2d, track_running_stats=True),
        "none": lambda _: nn.Identity(),
    }[norm](channels)


class UnetBlock(nn.Module):
    """One block of pytorch-CycleGAN-and-pix2pix's U-Net; `within` is the next one, None in the innermost."""

    def __init__(
        self, outer: int, inner: int, within: nn.Module | None, norm: str, *, given: int | None = None, dropout: bool
    ) -> None:
        super().__init__()
        bias = norm.startswith("instance")
        self.outermost = given is not None
        down = nn.Conv2d(given or outer, inner, 4, 2, 1, bias=bias)
        # In place, as in the reference: the skip beside it sees the activation too.
        leaky, relu = nn.LeakyReLU(0.2, inplace=True), nn.ReLU(inplace=True)
        if self.outermost:
            layers = [down, within, relu, nn.ConvTranspose2d(2 * inner, outer, 4, 2, 1), nn.Tanh()]
        elif within is None:
            up = nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=bias)
            layers = [leaky, down, relu, up, _norm(norm, outer)]
        else:
            up = nn.ConvTranspose2d(2 * inner, outer, 4, 2, 1, bias=bias)
            layers = [leaky, down, _norm(norm, inner), within, relu, up, _norm(norm, outer)]
            layers += [nn.Dropout(0.5)] if dropout else []
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class Unet(nn.Module):
    """pytorch-CycleGAN-and-pix2pix's U-Net that halves `depth` times: 7 for unet_128, 8 for unet_256."""

    def __init__(
        self,
        depth: int,
        input_nc: int = 3,
        output_nc: int = 3,
        ngf: int = 4,
        *,
        norm: str = "batch",
        dropout: bool = True,
    ) -> None:
        super().__init__()
        block = partial(UnetBlock, norm=norm, dropout=False)
        inner = block(ngf * 8, ngf * 8, None)
        for _ in range(depth - 5):
            inner = block(ngf * 8, ngf * 8, inner, dropout=dropout)
        for width in (4, 2, 1):
            inner = block(ngf * width, ngf * width * 2, inner)
        self.model = block(output_nc, ngf, inner, given=input_nc)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class ResnetBlock(nn.Module):
    """A residual block of either reference."""

    def __init__(self, channels: int, norm: str, *, dropout: bool, bias: bool, pad: bool = True) -> None:
        super().__init__()

        def half() -> list[nn.Module]:
            padding = [nn.ReflectionPad2d(1)] if pad else []
            conv = nn.Conv2d(channels, channels, 3, padding=0 if pad else 1, bias=bias)
            return [*padding, conv, _norm(norm, channels)]

        between = [nn.ReLU(inplace=True), *([nn.Dropout(0.5)] if dropout else [])]
        self.conv_block = nn.Sequential(*half(), *between, *half())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Resnet(nn.Module):
    """pytorch-CycleGAN-and-pix2pix's ResNet; with `bias` and other `downs`, pix2pixHD's global generator."""

    def __init__(
        self,
        blocks: int,
        input_nc: int = 3,
        output_nc: int = 3,
        ngf: int = 4,
        norm: str = "batch",
        *,
        dropout: bool = True,
        downs: int = 2,
        bias: bool | None = None,
        pad: bool = True,
    ) -> None:
        super().__init__()
        bias = norm.startswith("instance") if bias is None else bias
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(input_nc, ngf, 7, bias=bias)]
        layers += [_norm(norm, ngf), nn.ReLU(inplace=True)]
        for i in range(downs):
            width = ngf * 2**i
            layers += [nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), _norm(norm, 2 * width), nn.ReLU(inplace=True)]
        for _ in range(blocks):
            layers += [ResnetBlock(ngf * 2**downs, norm, dropout=dropout, bias=bias, pad=pad)]
        for i in range(downs, 0, -1):
            width = ngf * 2 ** (i - 1)
            up = nn.ConvTranspose2d(2 * width, width, 3, 2, 1, output_padding=1, bias=bias)
            layers += [up, _norm(norm, width), nn.ReLU(inplace=True)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, output_nc, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def global_generator(
    input_nc: int = 3, output_nc: int = 3, ngf: int = 4, norm: str = "instance", *, downs: int = 4, blocks: int = 3
) -> Resnet:
    """pix2pixHD's global generator: biases everywhere, no dropout."""
    return Resnet(blocks, input_nc, output_nc, ngf, norm, dropout=False, downs=downs, bias=True)


def patchgan() -> nn.Module:
    """The port's discriminator."""
    network = nn.Module()
    network.model = nn.Sequential(
        nn.Conv2d(6, 4, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(4, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8)
    )
    return network


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """Gives a network weights like a trained one's: no scale is 1, no shift and no mean is 0."""
    torch.manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.3, 2)
        elif name.endswith("running_mean") or (name.endswith("bias") and tensor.dim() == 1):
            tensor.normal_(0, 0.2)
        elif tensor.dim() == 1:
            tensor.normal_(1, 0.2)
        elif tensor.dim() == 4:
            tensor.normal_(0, 1.5 / (tensor[0].numel() ** 0.5))
    return network.requires_grad_(requires_grad=False)


def translate(network: nn.Module, picture: Tensor) -> Tensor:
    """Translates one picture, [1, C, H, W], as the references do at test time, but for the dropout, which is off.

    Batch norms stay in training mode; instance norms use each picture's statistics, whatever they gathered.
    """
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad():
        return network(picture.clone())
