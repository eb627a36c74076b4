"""The GPUs, as their driver tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.dashboard.panels import lines
from deploy.dashboard.selectors import MODEL, RELEASE

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

_GPU = "{{pod}} {{device}}"


def gpus() -> list[Builder[Panel]]:
    """Returns use, memory, power and temperature, and what models really run on."""
    used, whole = (f"lapis_gpu_memory_{part}_bytes{{{RELEASE}}}" for part in ("used", "total"))
    return [
        lines(
            "GPU in use",
            "Share of the time in which the GPU computed anything, by whomever.",
            "percentunit",
            (_GPU, f"lapis_gpu_utilization_ratio{{{RELEASE}}}"),
        ),
        lines("GPU memory in use", "By whomever.", "bytes", (_GPU, used)),
        lines(
            "GPU memory in use, share", "Of the memory that the GPU has.", "percentunit", (_GPU, f"{used} / {whole}")
        ),
        lines(
            "GPU power",
            "What the GPU draws; a slice (MIG) does not tell.",
            "watt",
            (_GPU, f"lapis_gpu_power_watts{{{RELEASE}}}"),
        ),
        lines("GPU temperature", "Of the chip.", "celsius", (_GPU, f"lapis_gpu_temperature_celsius{{{RELEASE}}}")),
        lines(
            "What models run on",
            "Replicas in which a model runs on this provider of ONNX Runtime. CPUExecutionProvider, where there should "
            "be a GPU, is an alert.",
            "none",
            (
                "{{model}} {{version}}: {{provider}}",
                f"count by (model, version, provider) (lapis_model_info{{{MODEL}}} == 1)",
            ),
        ),
    ]
