"""The files of a shipped folder. Imports nothing: the Snakefile asks for them while it is parsed."""

CLASSIFIER = "classifier.safetensors"
# What is asked for of ONNX -> its files.
ONNX = {"none": [], "head": ["head.onnx"], "model": ["head.onnx", "model.onnx"]}


def files(onnx: str) -> list[str]:
    """All files of a folder, the classifier first."""
    return [CLASSIFIER, "card.md", "predict.py", "requirements.txt", *ONNX[onnx]]
