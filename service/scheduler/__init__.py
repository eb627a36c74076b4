"""Decides what runs next and how much may wait; knows asyncio, and nothing of gRPC, pictures or ONNX."""
