"""The answers of worked problems: what their code prints stands below it, and is never typed.

In a notebook's text an answer is folded: a block of Python, then a block of what it printed.
`tools/notebooks.py --stamp` runs the first and writes the second.
"""

import contextlib
import io
import re

ANSWER = re.compile(
    r"(<summary>Answer</summary>\n\n```python\n)(.*?)(```\n\n```text\n)(.*?)(```)", re.S
)


def printed(code: str) -> str:
    """What a piece of code prints, run by itself."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(code, {"__name__": "answer"})
    return said.getvalue()


def with_answers(text: str) -> str:
    """A cell's text with what the code of its folded answers prints now."""
    return ANSWER.sub(lambda m: f"{m[1]}{m[2]}{m[3]}{printed(m[2])}{m[5]}", text)
