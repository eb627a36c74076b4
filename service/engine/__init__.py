"""Runs `model.onnx` in ONNX Runtime; knows pixels as arrays of unsigned bytes, and nothing of requests or queues."""
