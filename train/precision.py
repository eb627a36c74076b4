"""Where and in which number format the networks compute."""

from __future__ import annotations

from pathlib import Path

import torch

from train.world import ALONE, World

CPUINFO = Path("/proc/cpuinfo")


def pick_device(device: str, world: World = ALONE) -> torch.device:
    """Returns the device that "auto", "cpu" or "cuda" stands for, each process of a machine its own GPU.

    Raises ValueError where CUDA is asked for in vain.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no GPU here; --device cpu trains without one")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not world.alone:
        return torch.device(device, world.local_rank)
    return torch.device(device)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Returns the number format of autocast, or None for plain fp32; "auto" is bf16 where the hardware has it."""
    if precision == "auto":
        precision = "bf16" if _computes_in_bf16(device) else "fp32"
    return torch.bfloat16 if precision == "bf16" else None


def _computes_in_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = CPUINFO.read_text(encoding="ascii", errors="ignore")
    except OSError:  # not Linux
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
