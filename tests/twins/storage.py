"""Twins of the claims of notebook 03: what they would be given if something were broken."""

import io
import json
import math
import pickle
import zlib

import safetensors.torch
import torch

from costlab import catalog
from costlab.compress.encodings import bit_patterns, encode, entropy_bits
from costlab.compress.rounding import fit_grid, pack

RUN = next(run for run in catalog.published_runs() if run.id == "llama-3.1-405b")


def matrix() -> torch.Tensor:
    """Weights as a layer has them, in bf16."""
    return torch.randn(64, 128, generator=torch.Generator().manual_seed(0)).bfloat16() * 0.06


def codes() -> torch.Tensor:
    """Four-bit codes of them."""
    return fit_grid(matrix(), bits=4, groups=4).encode(matrix())


def thin() -> torch.Tensor:
    """The same weights, the small ones zero."""
    return matrix().masked_fill(matrix().abs() < 0.05, 0)


def file_that_dropped_something() -> float:
    """Half of the mantissa cut off: smaller than the entropy of what was given."""
    return (16 - 4) / entropy_bits(torch.randint(0, 2**16, (2**20,)).to(torch.int32))


def codes_in_a_byte_each() -> float:
    """Nothing packed: eight bits where four are enough."""
    return 8 / (entropy_bits(codes()) + 0.5)


def mantissas_of_few_levels() -> float:
    """Weights rounded to powers of two: there is nothing in the mantissa."""
    powers = torch.exp2(matrix().float().abs().log2().round()).bfloat16()
    return 7 - entropy_bits(bit_patterns(powers).int() & 127)


def exponents_spread_evenly() -> float:
    """Every octave as likely as any other."""
    return entropy_bits(torch.arange(256))


def bytes_with_halves_swapped() -> float:
    """The first code in the high half."""
    shifted = (codes() + 8).to(torch.uint8)
    return float((pack(codes(), 4) != (shifted[:, 0::2] << 4 | shifted[:, 1::2])).sum())


def codes_left_shifted() -> float:
    """Unpacked without taking the eight away."""
    return float(((codes() + 8) != codes()).sum())


def mask_in_the_other_order() -> float:
    """The first weight in the highest bit of a byte."""
    mask = encode(thin(), "sparse")[1]["#mask"]
    turned = sum((mask >> k & 1) << (7 - k) for k in range(8))
    return float((mask != turned).sum())


def formula_without_a_mask() -> float:
    """Bytes of the values alone, against the formula."""
    kept = float((thin() != 0).sum())
    return round(kept * 2 - (thin().numel() / 8 + kept * 2))


def tensors_that_lost_their_signs() -> float:
    """Negative zeros come back as zeros."""
    zeros = torch.tensor([-0.0, 0.0])
    return float(not torch.equal(bit_patterns(zeros), bit_patterns(zeros.abs())))


def dense_that_leaves_zeros_out() -> float:
    """A file that does shrink."""
    return sum(part.nbytes for part in encode(thin(), "sparse")[1].values()) - thin().nbytes


def sparse_that_stores_dense() -> float:
    """A format that takes no notice of zeros, against the formula for one that does."""
    zeros = float((thin() == 0).float().mean())
    predicted = thin().numel() / 8 * (1 + (1 - zeros) * 16)
    dense = sum(part.nbytes for part in encode(thin(), "safetensors")[1].values())
    return abs(dense / predicted - 1)


def listed_without_spaces() -> float:
    """Codes of one digit, the shortest list there is, against tokens of eight bytes."""
    tokens = [1] * 1000
    return torch.tensor(tokens).nbytes / len(json.dumps(tokens))


def archive_at_the_price_of_the_shelf() -> float:
    """One checkpoint a day, kept where they all are: twelve times fewer, not fifty."""
    hours = RUN.device_hours / RUN.devices
    return int(hours / 24) / int(hours / 2)


def codes_of_a_byte_each() -> float:
    """Float32 against codes that nobody packed."""
    return matrix().float().nbytes / codes().nbytes


def squeezed_noise() -> float:
    """What zlib saves where every bit is a coin toss: nothing."""
    noise = torch.randint(0, 256, (4096,)).to(torch.uint8).numpy().tobytes()
    return 1 - len(zlib.compress(noise)) / len(noise)


def lists_without_the_last_line() -> float:
    """A reader that skips the last line."""
    tokens = torch.arange(32)
    lines = "".join(json.dumps(row) + "\n" for row in tokens.reshape(4, 8).tolist())
    read = [token for line in lines.splitlines()[:-1] for token in json.loads(line)]
    return float(torch.equal(torch.tensor(read), tokens))


class Gift:
    """Runs a function while it is read."""

    def __reduce__(self) -> tuple:
        return len, ("gift",)


def refused_without_weights_only() -> float:
    """Read as pickles are: the function runs."""
    file = io.BytesIO()
    torch.save(Gift(), file)
    file.seek(0)
    try:
        return float(torch.load(file, weights_only=False) != len("gift"))
    except pickle.UnpicklingError:
        return 1.0


def refused_without_a_digest() -> float:
    """A reader that only looks at sizes: the cut is seen, the turned bit is not."""
    whole = safetensors.torch.save({"x": matrix()})
    refused = 0
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        try:
            safetensors.torch.load(damaged)
        except safetensors.SafetensorError:
            refused += 1
    return float(refused)


def codes_that_are_packed() -> float:
    """Four bits and a scale for every 32, stored as such."""
    grid = fit_grid(matrix(), bits=4, groups=4)
    return (pack(codes(), 4).nbytes + grid.scale.nbytes) / matrix().float().nbytes


def codes_all_positive() -> float:
    """Where no code is negative, nobody misses the sign."""
    return float(((codes().abs() & 15) != codes().abs()).float().mean())


def shift_without_a_sign() -> float:
    """The same two shifts on unsigned bytes: the top bit is not copied."""
    unsigned = codes().view(torch.uint8)
    return float((((unsigned & 15) << 4) >> 4 != unsigned).sum())


def unchanged() -> float:
    """A ratio of two figures that are one and the same, exact by definition: nothing was done."""
    return 1.0


TWINS = {
    "No file is smaller than the entropy of the values in it": file_that_dropped_something,
    "Four bits with zlib lie within a tenth of their floor": codes_in_a_byte_each,
    "Mantissas leave a compressor less than a tenth of a bit": mantissas_of_few_levels,
    "Exponents need less than half of their eight bits": exponents_spread_evenly,
    "Packed here and by the package, the bytes are the same": bytes_with_halves_swapped,
    "Unpacking gives back every code": codes_left_shifted,
    "The bitmask agrees with the package's, bit for bit": mask_in_the_other_order,
    "Mask and values take as many bytes as the formula says": formula_without_a_mask,
    "All eight files give back every bit": tensors_that_lost_their_signs,
    "In four bits there are at least six times fewer bytes to read": codes_of_a_byte_each,
    "Compressing bf16 without loss saves a tenth and more": squeezed_noise,
    "Stored dense, no number of zeros saves a byte": dense_that_leaves_zeros_out,
    "Past one zero in sixteen, the sparse file follows the formula": sparse_that_stores_dense,
    # four bits in floats: the same bytes, the same work
    "From such a disk, four bits write sooner than 32": unchanged,
    # a compressor whose decoding takes no work, exact by definition: it pays from every disk
    "zlib on bf16 makes you wait longer, from such a disk": lambda: math.inf,
    "Both files hold the same tokens": lists_without_the_last_line,
    "A packed token takes less than a quarter of a listed one": listed_without_spaces,
    # a shard that is read like the lists
    "Token lists take more than ten times as long to read": unchanged,
    "Archiving one a day costs less than a fiftieth of keeping all": (
        archive_at_the_price_of_the_shelf
    ),
    # a run that is never stopped, exact by definition: it loses nothing
    "Work lost at stops costs more than a year of keeping every one": lambda: 0.0,
    "With weights_only, torch refuses to run what it loads": refused_without_weights_only,
    "Without the sign, more than a third of the codes are wrong": codes_all_positive,
    "With the sign, every code comes back": shift_without_a_sign,
    "Both damaged files are refused": refused_without_a_digest,
    "Four bits kept in floats take the bytes of floats": codes_that_are_packed,
    # a ledger of the same files
    "The same service stores its files for less than a twentieth": unchanged,
}
# The bandwidth of the disk that the notebook names.
COMPUTED = {"zlib on bf16 makes you wait longer, from such a disk": 125.0}
