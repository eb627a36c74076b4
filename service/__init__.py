"""The service: pictures in over gRPC, translated pictures out."""

import os

# ONNX Runtime reports on its use to its maker and leaves a device id in the home directory, unless it is told not to
# before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# gRPC writes a line of its own making, not one of our log's, for each stranger whose TLS handshake fails.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
