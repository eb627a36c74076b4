"""Export: a checkpoint becomes one self-describing `model.onnx`, proven equal to the network that was trained."""
