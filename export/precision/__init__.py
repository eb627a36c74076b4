"""How exactly a graph computes: fp32, weights stored as halves, a half graph for GPUs, an integer graph for CPUs."""

from __future__ import annotations

from export.precision.bounds import Bounds, bounds
from export.precision.half import check_halves
from export.precision.int8 import quantize
from export.precision.storage import store

__all__ = ["Bounds", "bounds", "check_halves", "quantize", "store"]
