"""Any decoder of `transformers`, or the book's, measured beside its 8-bit copy."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from costlab.bill import Ledger, compare
from costlab.bill.measure import REPEATS
from costlab.compress.quantization import quantize
from costlab.levers import Service
from costlab.lm import corpus
from costlab.lm.decoding import Session, check_language_model, context_of, vocabulary_of
from costlab.lm.pretrained import load_model

POSITIONS, WINDOWS = 256, 8  # of what is scored
STARTS = 15  # seconds to start the process that measures peak memory


def load(source: object) -> tuple[nn.Module, list[Tensor], str]:
    """A model in float32, the tokens to score it on, and what these are.

    Raises ValueError or TypeError with one sentence for what is no such model.
    """
    if isinstance(source, nn.Module):
        check_language_model(source)
        return source, *_text(source, None)
    path = Path(source)
    if source == "book" or path.suffix == ".safetensors":
        model = load_model(None if source == "book" else path)
        return model, *_text(model, None)
    if not path.is_dir() and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(source)):
        raise ValueError(
            f"source must be a log, a folder of transformers, owner/name or 'book', got {source!r}"
        )
    try:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(str(source), use_safetensors=True)
    except ImportError:
        raise ValueError("source needs transformers, which is not installed here") from None
    except (OSError, ValueError, KeyError) as error:
        why = " ".join(str(error).split())[:160]
        raise ValueError(f"source {str(source)!r} holds no decoder that loads: {why}") from None
    model = model.float().eval()
    return model, *_text(model, str(source))


def _text(model: nn.Module, folder: str | None) -> tuple[list[Tensor], str]:
    """Validation text as this model reads it, or random tokens where it has no tokenizer."""
    width, dice = min(POSITIONS, context_of(model)), torch.Generator().manual_seed(0)
    if vocabulary_of(model) == 256:
        return corpus.validation_batches(context=width, batch=4, limit=8192), "validation text"
    drawn = torch.randint(vocabulary_of(model), (WINDOWS, width), generator=dice)
    if folder is None:
        return [drawn], "random tokens"
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, ImportError):
        return [drawn], "random tokens"
    text = corpus.validation_text()[: 8 * WINDOWS * width].decode("utf-8", "ignore")
    tokens = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
    windows = tokens.unfold(0, min(width, len(tokens)), width)[:WINDOWS]
    return [windows.contiguous()], "validation text, through the model's tokenizer"


def measured(
    model: nn.Module,
    name: str,
    batches: list[Tensor],
    service: Service,
    tell: Callable[[str], None],
) -> Ledger:
    """The bill of a model, and of its 8-bit copy where it has layers to round.

    tell: is told how long it will take, before it does.
    """
    models, prompt, generate = {name: model}, service.prompt, service.generate
    longest, asked = context_of(model), prompt + generate
    if asked > longest:
        raise ValueError(f"prompt + generate is {asked} tokens, and this model reads {longest}")
    try:
        models["in 8 bits"] = quantize(model, activations="dynamic")
    except ValueError:
        tell("no linear layer to round to 8 bits: it is measured alone")
    rounds = len(models) * (REPEATS + 2)  # one warms up, one is for the memory
    seconds = len(models) * STARTS + rounds * _one_round(model, prompt, generate)
    tell(f"{rounds} rounds of {prompt} tokens read and {generate} written: about {seconds:.0f} s")
    return compare(models, batches, prompt=prompt, generate=generate)


@torch.inference_mode()
def _one_round(model: nn.Module, prompt: int, generate: int) -> float:
    """Seconds of one round, from reading a prompt and writing one token."""
    session = Session(model, capacity=prompt + generate)
    tokens = torch.ones(1, prompt, dtype=torch.int64, device=next(model.parameters()).device)
    start = time.perf_counter()
    session.feed(tokens)
    middle = time.perf_counter()
    session.feed(tokens[:, :1])
    return middle - start + generate * (time.perf_counter() - middle)
