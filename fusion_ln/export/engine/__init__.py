"""Networks and fusions of a model in onnxruntime, for the package itself."""
