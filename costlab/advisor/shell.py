"""Advice from the shell: every keyword of a question is an option of the same name."""

from collections.abc import Sequence

from costlab.advisor import QUESTIONS, recommend
from costlab.estimate.checks import choice
from costlab.estimate.shell import parser


def main(argv: Sequence[str]) -> int:
    """Run `costlab advise QUESTION …`; exit status 1 where no option keeps to the budget."""
    rest = list(argv)
    if not rest or rest[0] in ("-h", "--help"):
        print(f"usage: costlab advise {{{','.join(QUESTIONS)}}} …\n\n"
              "costlab advise compute --help lists the arguments.")  # fmt: skip
        return 0 if rest else 2
    question = choice("question", rest.pop(0), QUESTIONS)
    options = parser(f"advise {question}", QUESTIONS[question])
    given = {k: v for k, v in vars(options.parse_args(rest)).items() if v is not None}
    as_json = given.pop("json")
    answer = recommend(question, **given)
    print(answer.to_json() if as_json else answer)
    return 0 if answer.best else 1
