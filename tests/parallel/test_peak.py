"""Peak bytes of a call, on calls whose peak can be counted by hand."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from costlab.parallel.peak import peak_bytes

KB = 256  # float32 numbers in a kilobyte


def test_what_lives_at_once_counts():
    def two_in_turn():
        for _ in range(3):
            a = torch.zeros(KB)
            b = a + 1
            del a, b

    assert peak_bytes(two_in_turn) == 2048
    assert peak_bytes(lambda: [torch.zeros(KB) for _ in range(5)]) == 5 * 1024
    assert peak_bytes(lambda: None) == 0


def test_views_and_what_was_there_do_not_count():
    x = torch.zeros(4, KB)
    assert peak_bytes(lambda: x.view(-1)[3:].t()) == 0
    assert peak_bytes(lambda: x.add_(1)) == 0


def test_what_the_backward_pass_needs_is_kept_or_computed_again():
    """Ten blocks of three layers: tanh keeps its output, which is the next layer's input."""

    def block():
        return nn.Sequential(*(part for _ in range(3) for part in (nn.Linear(8, 8), nn.Tanh())))

    blocks, x = nn.ModuleList(block() for _ in range(10)), torch.randn(100, 8)

    def run(checkpointed):
        y = x
        for each in blocks:
            y = checkpoint(each, y, use_reentrant=False) if checkpointed else each(y)
        return y.sum()

    kept, again = (peak_bytes(lambda c=c: run(c).backward()) for c in (False, True))
    layer = 100 * 8 * 4
    assert 30 * layer <= kept <= 34 * layer
    assert 10 * layer <= again <= 16 * layer
