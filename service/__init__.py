"""The service: pictures in over gRPC, translated pictures out."""

import os

# ONNX Runtime reports on its use to its maker and leaves a device id in the home directory, unless it is told not to
# before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
