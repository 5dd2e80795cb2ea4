"""The start of every notebook: fixed seeds, quiet progress bars, one figure style, the machine.

The first cell of each notebook is generated from one template (`tools/first_cell.py`) and calls
`begin`, so that a run from top to bottom prints the same numbers twice.
"""

import importlib.util
import os
import random

from costlab import hardware


def begin(*, seed: int = 0, threads: int | None = None) -> None:
    """Start a notebook: seed `random`, NumPy and torch, style figures, print the machine.

    Args:
        seed: whole number from 0 to 2**32 - 1; 0 unless told.
        threads: CPU threads torch may use; None (the default) leaves torch's own choice.

    Raises:
        ValueError: `seed` or `threads` is out of range.

    Taught in: notebooks/01_the_bill.ipynb.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to 2**32 - 1, got {seed!r}.")
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ValueError(f"threads must be a whole number from 1, or None, got {threads!r}.")
    if "PYTEST_CURRENT_TEST" in os.environ:  # under nbval a progress bar would be compared
        os.environ["TQDM_DISABLE"] = "1"
    _seed(seed, threads)
    _style_figures()
    print(f"[measured] machine: {hardware.describe()}")


def glue(name: str, value: float, text: str | None = None) -> None:
    """Keep a number of this notebook under `name`, for the book's prose pages to show.

    A name that begins with `t_` marks a value that varies with the machine; it needs `text`, the
    number as it shall be read, and is stored as an element of class `measured`.

    Taught in: CONTRIBUTING.md. Read with `{glue:}` and `{glue:text}` of MyST-NB.
    """
    from IPython.display import display

    if name.startswith("t_"):
        if text is None:
            raise ValueError(
                f"text must be given for {name!r}: a volatile value is shown as written"
            )
        data = {"text/html": f'<span class="measured">{text}</span>'}
    else:
        data = {"text/plain": repr(value)}
    stored = {f"application/papermill.record/{kind}": shown for kind, shown in data.items()}
    label = {"name": name, "mime_prefix": "application/papermill.record/"}
    display(stored, raw=True, metadata={"scrapbook": label})


def _seed(seed: int, threads: int | None) -> None:
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (libraries that the notebooks run draw from it)
    torch.manual_seed(seed)
    if threads is not None:
        torch.set_num_threads(threads)


def _style_figures() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        return  # figures are an extra
    from costlab import figures

    figures.use_style()
