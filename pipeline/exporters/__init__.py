"""What leaves the project: ONNX model, maps, polygons, cards, and predictions, each checked when finished."""
