"""Export: a checkpoint becomes one self-describing `model.onnx`, proven equal to the network that was trained."""

import os

# ONNX Runtime reports on its use to its maker and leaves a device id in the home directory, unless it is told not to
# before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# What OpenCV has to say of a damaged picture is told by us, with the file's name, in one line.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
