"""Which device a job computes on."""

import shutil


def choose(wants_gpu: bool, asked: str = "auto") -> str:
    """ "cuda" where the method uses a GPU and there is one, else "cpu".

    torch is imported only where a driver is installed at all: that import is most of a small cell's time.
    """
    if asked != "auto" or not wants_gpu:
        return "cpu" if asked == "auto" or not wants_gpu else asked
    if shutil.which("nvidia-smi") is None:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
