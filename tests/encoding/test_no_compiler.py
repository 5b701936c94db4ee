"""A backbone is loaded and used without torch's compiler, which is there for whoever wants it afterwards."""

import subprocess
import sys
from pathlib import Path

from tests.encoding import tiny
from tests.studies import ROOT

PROGRAM = """\
import sys
from importlib import util
from pathlib import Path
import torch
from workflow.lib.encoding import backbones, cut_tower, extraction, no_compiler, open_tower, views
from torchvision.ops import roi_align

found = backbones.load({spec!r}, "cpu")
found.encode_images(torch.rand(2, 3, 32, 32))
found.encode_tokens(found.tokenizer(["a cat"]))
before = no_compiler.COMPILER in sys.modules
mark = torch.compiler.disable

no_compiler.WITHOUT["wants_more"] = no_compiler.WITHOUT["torchvision.ops.roi_align"]
Path("wants_more.py").write_text("from torch._dynamo.utils import counters")
sys.path.insert(0, "")
import wants_more
from torch._dynamo import utils

module = sys.modules["torchvision.ops.roi_align"]
asked = module.is_compile_supported("cpu") == utils.is_compile_supported("cpu")
print(before, wants_more.counters is utils.counters, asked, mark.__module__)
"""


def test_an_extraction_imports_no_compiler_and_who_asks_for_it_has_it(tmp_path: Path) -> None:
    """A version of a library that takes more of it gets it."""
    program = PROGRAM.format(spec=tiny.make(tmp_path))
    command = [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r})\n{program}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "False True True torch.compiler\n", done.stdout + done.stderr
