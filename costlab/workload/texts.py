"""The text of a request: a prompt cut from a corpus that the caller brings."""

from random import Random

from costlab.workload.trace import Request


def text_for(request: Request, corpus_bytes: bytes) -> bytes:
    """Return the prompt of `request`: exactly `prompt_tokens` bytes cut from `corpus_bytes`.

    Requests with the same `prefix_id` begin with the same `prefix_tokens` bytes, which end
    with a line where the corpus allows it; the rest starts at the beginning of a line. The same
    request and corpus always give the same bytes.

    Raises `TypeError` when `corpus_bytes` is not bytes, `ValueError` when it is shorter than
    the prompt.
    """
    if not isinstance(corpus_bytes, bytes):
        raise TypeError(f"corpus_bytes must be bytes; got {type(corpus_bytes).__name__}")
    if len(corpus_bytes) < request.prompt_tokens:
        raise ValueError(
            f"corpus_bytes must hold at least the prompt's {request.prompt_tokens} bytes; "
            f"got {len(corpus_bytes)}"
        )
    size = request.prefix_tokens
    header_end = _line_start(f"header {request.prefix_id}", corpus_bytes, size, 0)
    body_size = request.prompt_tokens - size
    name = f"body {request.arrival_seconds!r} {request.tenant} {request.prefix_id}"
    body_start = _line_start(name, corpus_bytes, 0, body_size)
    header = corpus_bytes[header_end - size : header_end]
    return header + corpus_bytes[body_start : body_start + body_size]


def _line_start(name: str, corpus: bytes, before: int, after: int) -> int:
    """Pick a position, by `name`, with so many bytes `before` and `after` it in the corpus:
    the start of a line, unless none lies between a drawn position and the last one."""
    last = len(corpus) - after
    drawn = Random(name).randint(before, last)  # seeded by a string: the same on every machine
    newline = corpus.find(b"\n", max(drawn - 1, 0), last)
    return newline + 1 if newline >= 0 else drawn
