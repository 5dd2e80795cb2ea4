"""The book's corpus: the source of Python's own standard library, read as bytes.

Bytes are the tokens, so bits per byte needs no tokenizer and any model can be compared on the same
text. Validation text is a fixed list of files that are byte-identical on Python 3.10 to 3.14, so
that quality is the same number on every machine; each is checked against its SHA-256. Taught in
notebook 01.
"""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from pathlib import Path

import torch

SEPARATOR = b"\0"  # between files; the byte 0 never occurs in Python source
LEFT_OUT = {
    "test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__",
    "encodings", "pydoc_data", "idlelib", "__phello__",
}  # fmt: skip
TABLES = {"html/entities.py", "stringprep.py", "tkinter/constants.py", "curses/has_key.py"}


def library_root() -> Path:
    """The folder of this interpreter's standard library; raises if it holds no sources."""
    root = Path(sysconfig.get_paths()["stdlib"])
    if not (root / "abc.py").is_file():
        raise FileNotFoundError(
            f"this Python has no library sources in {root}: the corpus needs an interpreter "
            "installed with its .py files (python.org, conda, Debian's python3, Colab)"
        )
    return root


def validation_files() -> dict[str, str]:
    """Names of the validation files, relative to the library, with the SHA-256 of their text."""
    text = (resources.files("costlab.lm") / "validation_files.txt").read_text()
    return dict(reversed(line.split()) for line in text.splitlines() if line[:1] not in "#")


def read(path: Path) -> bytes:
    """The bytes of a source file with Unix line ends (Windows installs carry CRLF)."""
    return path.read_bytes().replace(b"\r\n", b"\n")


@lru_cache(maxsize=4)
def validation_text(root: Path | None = None) -> bytes:
    """The validation text: about 130 kB, the same bytes on every supported interpreter."""
    root, parts = root or library_root(), []
    for name, digest in validation_files().items():
        text = read(root / name) if (root / name).is_file() else b""
        if hashlib.sha256(text).hexdigest() != digest:
            raise ValueError(
                f"validation file {name} of this Python is {'changed' if text else 'missing'}: "
                "bits per byte would not be comparable; use an unmodified Python 3.10 to 3.14"
            )
        parts.append(text)
    return SEPARATOR.join(parts)


def _long_lines(text: bytes) -> set[bytes]:
    """Lines of 30 bytes and more, stripped: what makes two files recognizably the same text."""
    return {s for line in text.split(b"\n") if len(s := line.strip()) >= 30}


def training_files(root: Path | None = None) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each training file, sorted by name.

    Left out: tests, generated tables, other packages, the validation files, and near-duplicates of
    them (files that share more than a tenth of their long lines with validation text).
    """
    root = root or library_root()
    held_out = validation_files()
    known = _long_lines(validation_text(root))
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix()
        if name in held_out or name in TABLES or LEFT_OUT & set(name.split("/")[:-1]):
            continue
        if name.split("/")[0].startswith(("_sysconfigdata", "config-")):
            continue
        text = read(path)
        lines = _long_lines(text)
        if text and len(lines & known) <= 0.1 * len(lines) and b"\0" not in text:
            yield name, text


@lru_cache(maxsize=2)
def training_text(root: Path | None = None) -> bytes:
    """The training text of this interpreter: about 9 MB, files joined by a zero byte."""
    return SEPARATOR.join(text for _, text in training_files(root))


def as_tensor(text: bytes) -> torch.Tensor:
    """Bytes as a uint8 tensor of shape (len(text),), copied."""
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def batch(text: torch.Tensor, *, batch: int, context: int, seed: int, step: int) -> torch.Tensor:
    """Random windows of `context + 1` bytes, shape (batch, context + 1), int64.

    The windows depend on `seed` and `step` alone, so a resumed run sees what an unbroken one would
    have.
    """
    if len(text) < context + 2:
        raise ValueError(f"text must be longer than context + 1 ({context + 1}), got {len(text)}")
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    starts = torch.randint(len(text) - context - 1, (batch, 1), generator=generator)
    return text[starts + torch.arange(context + 1)].long()


def validation_batches(
    *, context: int = 512, batch: int = 16, limit: int | None = None
) -> list[torch.Tensor]:
    """Validation text cut into windows, as batches of shape (<= batch, context), int64.

    Every window but the first begins at the last byte of the one before, so each byte but the very
    first is predicted once; what is left at the end is a shorter window, the last batch. With
    `limit` (bytes) whole windows are taken evenly from the text.
    """
    if context < 2:
        raise ValueError(f"context must be at least 2, got {context}")
    text = as_tensor(validation_text()).long()
    windows = text.unfold(0, context, context - 1)
    if limit is not None:
        keep = max(1, min(len(windows), limit // context))
        return list(windows[torch.linspace(0, len(windows) - 1, keep).long()].split(batch))
    rest = text[len(windows) * (context - 1) :]
    return [*windows.split(batch), *([rest[None]] if len(rest) > 1 else [])]
