"""What GPTQ on the book's model takes, beside what runs in the same minutes."""

import pytest
import torch

import costlab
from costlab.calibration import calibration_batches
from costlab.compress.quantization import quantize

pytestmark = pytest.mark.soak


def test_gptq_takes_less_than_a_dozen_passes_over_its_text(seconds):
    """Three passes over the calibration text, one more for the Hessians, a few for the columns.

    A pass is some 2 x 6.5 million weights x 16 thousand bytes, 0.2 trillion operations: five
    seconds for one core that does 40 billion a second, so that a dozen stay under a minute.
    """
    model = costlab.load_model()
    batches = calibration_batches(model, None)

    @torch.inference_mode()
    def read():
        for batch in batches:
            model(batch)

    read()
    before = seconds(read)
    taken = seconds(lambda: quantize(model, bits=4, method="gptq", calibration=batches))
    passes = taken / ((before + seconds(read)) / 2)
    print(f"\nGPTQ took as long as {passes:.1f} passes over its text")
    assert passes < 12
