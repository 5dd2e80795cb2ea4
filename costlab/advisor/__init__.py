"""Which compute, storage, compression, parallelism, optimization: the article's five questions.

Each is answered from `costlab.estimate`, published qualities and recorded runs. No torch.

    >>> from costlab import advisor
    >>> answer = advisor.recommend("storage", data_gb=1000, reads_gb=50)
    >>> answer.best.dollars > 0
    True
"""

import inspect
from collections.abc import Callable

from costlab.advisor import compression, compute, optimization, parallelism, storage
from costlab.advisor.records import Option, Recommendation
from costlab.estimate.checks import choice

__all__ = ["QUESTIONS", "Option", "Recommendation", "recommend"]

QUESTIONS: dict[str, Callable[..., Recommendation]] = {
    "compute": compute.compute,
    "storage": storage.storage,
    "compression": compression.compression,
    "parallelism": parallelism.parallelism,
    "optimization": optimization.optimization,
}


def recommend(question: str, model: object = None, **asked: object) -> Recommendation:
    """Answer one of the article's five questions: ranked options, the reason, what was left out.

    Args:
        question: "compute", "storage", "compression", "parallelism" or "optimization".
        model: a catalog id, a Transformer, a config.json [the question's usual one].
        asked: the question's own keywords; `budget` is one of each. The functions in the
            modules of these names document them; `costlab advise QUESTION --help` lists them.

    Returns:
        The recommendation. Where no option keeps to the budget, `best` is None and
        `would_have_to_give` says what would.

    Raises:
        ValueError: the question or an id is unknown, or an argument is out of its range.
        TypeError: a keyword that this question does not have.

    Taught in: notebooks/20_advisor.ipynb.
    """
    function = QUESTIONS[choice("question", question, QUESTIONS)]
    known = [name for name in inspect.signature(function).parameters if name != "model"]
    for name in asked:
        if name not in known:
            raise TypeError(f"{question} takes {', '.join(known)}, got {name!r}.")
    return function(**asked) if model is None else function(model, **asked)
