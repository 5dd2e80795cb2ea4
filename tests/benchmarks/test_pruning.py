"""What pruning the book's model takes, beside passes over its text in the same minutes."""

import pytest
import torch

import costlab
from costlab.calibration import calibration_batches

pytestmark = pytest.mark.soak
PASSES = {"magnitude": 2, "wanda": 12, "sparsegpt": 12}  # at most


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
@pytest.mark.parametrize("method", PASSES)
def test_pruning_takes_less_than_a_dozen_passes_over_its_text(seconds, capsys, method, options):
    """SparseGPT reads the default calibration text three times; magnitude does not read it.

    A pass is some 0.2 trillion operations: five seconds for one core that does 40 billion a second,
    so that a dozen stay under a minute.
    """
    model = costlab.load_model()
    batches = calibration_batches(model, None)

    @torch.inference_mode()
    def read():
        for batch in batches:
            model(batch)

    read()
    before = seconds(read)
    made = {}
    taken = seconds(lambda: made.update(
        new=costlab.prune(model, method=method, calibration=batches, **options)
    ))  # fmt: skip
    passes = taken / ((before + seconds(read)) / 2)
    shown = capsys.readouterr().err
    with capsys.disabled():
        print(f"\n{method} {options}: {taken:.1f} s of one core, {passes:.1f} passes over its text")
    assert ("pruning" if method == "magnitude" else method) in shown, "progress is shown"
    kept = costlab.masks(made["new"]).values()
    assert sum(int(mask.sum()) for mask in kept) * 2 == sum(mask.numel() for mask in kept)
    assert passes < PASSES[method]
