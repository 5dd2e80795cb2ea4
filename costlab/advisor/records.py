"""The answer to a question: ranked options, the figures that decided, what was left out and why."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from costlab.estimate.record import Record
from costlab.estimate.tables import columns, figure


@dataclass(frozen=True)
class Option:
    """One way to go: dollars per `Recommendation.per`, with the range of the catalog's prices.

    `figures` are what one option is told from another by; `words` say what it asks of you.
    """

    name: str
    dollars: float
    low: float
    high: float
    figures: Mapping[str, object] = field(default_factory=dict)
    words: str = ""


@dataclass(frozen=True)
class Recommendation(Record):
    """Options from the cheapest, what decided, what was left out, and what would have to give.

    `per` is what dollars are of: "month", "run" or "GB-month". `left_out` maps a name to a
    sentence. Where no option keeps to `budget`, `best` is None and `would_have_to_give` says what
    would bring the bill down to it; each entry was computed, not guessed.

    Taught in: notebooks/20_advisor.ipynb.
    """

    question: str
    per: str
    budget: float | None
    options: tuple[Option, ...]
    left_out: Mapping[str, str]
    reason: str
    would_have_to_give: tuple[str, ...] = ()

    @property
    def best(self) -> Option | None:
        """The first option, where there is one and it keeps to the budget."""
        return self.options[0] if self.options and within(self) else None

    def to_dict(self) -> dict:
        """All of it as plain values."""
        best = self.best
        return super().to_dict() | {"best": best and best.name}

    def __str__(self) -> str:
        names = list(self.options[0].figures) if self.options else []
        header = ["", f"$ a {self.per}", "at least", "at most", *names]
        rows = [
            [o.name, o.dollars, o.low, o.high, *(o.figures.get(n) for n in names)]
            for o in self.options
        ]
        parts = [self.reason, columns(header, rows) if rows else ""]
        parts += [f"{o.name}: {o.words}" for o in self.options[:1] if o.words]
        parts += [f"would keep to the budget: {text}" for text in self.would_have_to_give]
        whys: dict[str, list[str]] = {}
        for name, why in self.left_out.items():
            whys.setdefault(why, []).append(name)
        parts += [f"left out, {', '.join(names)}: {why}" for why, names in whys.items()]
        return "\n".join(filter(None, parts))


def within(answer: Recommendation) -> bool:
    """Whether the cheapest option keeps to the budget; without a budget it always does."""
    return answer.budget is None or answer.options[0].dollars <= answer.budget


def money(dollars: float) -> str:
    """Dollars as sentences show them: `$3,210`, or `$0.412` where small."""
    return f"${dollars:,.0f}" if dollars >= 1000 else f"${figure(float(dollars))}"


def decide(options: list[Option], per: str, budget: float | None) -> str:
    """Why the first option is first, in one or two sentences."""
    if not options:
        return "No option is left: every one was ruled out, for the reasons below."
    first = options[0]
    text = f"The cheapest is {first.name}, {money(first.dollars)} a {per}"
    if len(options) > 1:
        second = options[1]
        more = second.dollars / first.dollars - 1 if first.dollars else 0.0
        text += f"; next is {second.name}, "
        text += f"{more:.0%} more" if more >= 0.005 else "at the same price"
        apart = abs(second.low / second.dollars - first.low / first.dollars) if more > 0 else 0.0
        if second.low < first.dollars and apart > 0.1:  # not the same prices for both
            text += ", cheaper where its own price is at its low end"
    if budget is not None and first.dollars > budget:
        text += f". That is {money(first.dollars - budget)} over the budget of {money(budget)}"
    return text + "."


def answer(
    question: str,
    per: str,
    budget: float | None,
    options: list[Option],
    left_out: Mapping[str, str],
    concessions: Callable[[], Iterable[tuple[str, float]]],
) -> Recommendation:
    """The recommendation; `concessions` are tried only where the budget is not met."""
    reason = decide(options, per, budget)
    unmet = budget is not None and (not options or options[0].dollars > budget)
    gives = []
    if unmet:
        tried = concessions()
        gives = [f"{words}, {money(d)} a {per}" for words, d in tried if d <= budget]
        if options:
            gives.append(f"a budget of {money(options[0].dollars)}")
    return Recommendation(question, per, budget, tuple(options), dict(left_out), reason,
                          tuple(gives))  # fmt: skip
