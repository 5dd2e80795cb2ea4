"""What `quantize` takes, counted: memory and work, as the model grows deeper."""

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
