"""Trained networks as ONNX or OpenVINO graphs, in fp32 or int8, checked against PyTorch."""
