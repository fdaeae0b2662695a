"""Trained models as ONNX files, checked against Keras."""
