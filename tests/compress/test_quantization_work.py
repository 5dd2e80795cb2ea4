"""What `quantize` takes, counted: memory and work, as the model grows deeper."""

import json
import os
import subprocess
import sys
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from costlab.bill.counting import bytes_in_memory, tensors
from costlab.compress.quantization import quantize
from costlab.compress.quantized import QuantizedLinear

METHODS = ["rtn", "gptq", "smoothquant", "awq"]
IDS = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(0))


class Counting(TorchDispatchMode):
    """Bytes that operations wrote, and the most that their results held at once.

    What a model held before is not counted.
    """

    def __init__(self, model):
        super().__init__()
        self.written = self.held = self.most = 0
        self.model = model  # what it holds keeps its place in memory
        self.known = {t.untyped_storage()._cdata for t in tensors(model)}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.written += tensor.numel() * tensor.element_size()
                self.hold(tensor.untyped_storage())
        return out

    def hold(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.held += size
            self.most = max(self.most, self.held)
            weakref.finalize(storage, self.let_go, key, size)

    def let_go(self, key, size):
        self.known.discard(key)
        self.held -= size


def count(tiny, layers, method):
    """Bytes written while quantizing, and the most held beside both models."""
    model = tiny(layers=layers)
    with Counting(model) as counted:
        new = quantize(model, bits=4, method=method, calibration=IDS)
    assert sum(isinstance(m, QuantizedLinear) for m in new.modules()) == 7 * layers
    if layers >= 8:
        assert counted.most < bytes_in_memory(model), "the new model and all that it takes"
    return counted.written, counted.most - bytes_in_memory(new)


def test_what_is_counted():
    with Counting(torch.nn.Linear(1, 1)) as counted:
        a = torch.ones(100)
        b = a.view(10, 10)
        del a
        assert counted.held == 400, "a view holds it all"
        b = b + b
        assert (counted.held, counted.most) == (400, 800)
        del b
    assert (counted.held, counted.most) == (0, 800)


@pytest.mark.parametrize("method", METHODS)
def test_work_grows_in_a_straight_line_with_the_layers(tiny, method):
    two, four, eight = (count(tiny, layers, method)[0] for layers in (2, 4, 8))
    assert eight - four == pytest.approx(2 * (four - two), rel=0.01)
    assert four > two


@pytest.mark.parametrize("method", METHODS)
def test_memory_beside_the_models_is_that_of_one_block(tiny, method):
    """Of one layer, and of its block's inputs and their statistics, where a method looks at them:
    as much in a deep model as in a shallow one."""
    shallow, deep = (count(tiny, layers, method)[1] for layers in (2, 8))
    block = bytes_in_memory(tiny().model.layers[0])
    assert deep < shallow + block / 4
    if method == "rtn":  # its float copies, and its codes one bit to a byte before they are packed
        assert 4 * 32 * 48 < deep < 4 * 4 * 32 * 48, "four times the floats of the largest layer"


MEASURED = """
import json, sys
from pathlib import Path
import torch
from costlab.bill.counting import bytes_in_memory
from costlab.bill.memory import resident
from costlab.compress.quantization import quantize
from costlab.lm.model import Config, LanguageModel

SHAPE = {"width": 256, "heads": 4, "kv_heads": 2, "head_dim": 64, "ffn": 704, "context": 64}
method, layers = sys.argv[1], int(sys.argv[2])
options = {"bits": 4, "method": method, "calibration": torch.randint(256, (2, 24))}
quantize(LanguageModel(Config(layers=2, **SHAPE)), **options)  # code, threads, buffers
model = LanguageModel(Config(layers=layers, **SHAPE))
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS")
new = quantize(model, **options)
print(json.dumps([resident("VmHWM") - before, bytes_in_memory(model), bytes_in_memory(new)]))
"""


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told by Linux")
@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_a_process_takes_as_much_for_a_deep_model_as_for_a_shallow_one(method):
    """What the operations above cannot see counts too: the memory that libraries work in."""
    # freed memory goes back at once, so that the highest mark is what was held
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    beside = []
    for layers in ("4", "16"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, method, layers],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        peak, model, new = json.loads(done.stdout)
        beside.append(peak - new)
    assert peak < model, "new model and all, less than the sixteen blocks in floats"
    block = model / 16
    assert beside[1] < beside[0] + block
    assert beside[1] < (2 if method == "rtn" else 10) * block
