"""A run becomes a bundle: networks as ONNX files, thresholds, golden cases, figures, model card."""
