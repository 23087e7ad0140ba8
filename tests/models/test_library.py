import subprocess
import sys

AFTER = """
import sys, torch
from fusion_ln.models.library import timm
assert "torch._dynamo" not in sys.modules
import torch._dynamo.utils as utils
from torchvision.ops import roi_align
assert torch.compiler.disable(len) is not len
assert roi_align.__globals__["is_compile_supported"]("cpu") == utils.is_compile_supported("cpu")
with torch.inference_mode():
    model = timm.create_model("test_resnet").eval()
    assert torch.equal(torch.compile(model, backend="eager")(torch.ones(1, 3, 64, 64)), model(torch.ones(1, 3, 64, 64)))
"""


def test_torchs_compiler_is_there_once_it_is_asked_for():
    subprocess.run([sys.executable, "-c", AFTER], check=True)
