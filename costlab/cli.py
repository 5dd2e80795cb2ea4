"""The `costlab` command.

Each subcommand imports what it needs when it is called, so that help is instant.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

_PASSED_ON = {
    "train": "train the book's language model from nothing",
    "estimate": "what training, serving or storage would cost",
    "search": "the cheapest layout for training a model on so many devices",
    "advise": "which compute, storage, compression, parallelism or optimization, and why",
    "report": "one page for a model or a request log: its bill, and what would lower it",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="costlab", description="Measure and cut what a large model costs as a service."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="the bill of a model")
    measure.add_argument(
        "path",
        nargs="?",
        help="weights saved by the trainer, or a folder of transformers (the book's, if none)",
    )
    measure.add_argument("--batch", type=int, default=1, help="sequences at a time (1)")
    measure.add_argument("--prompt", type=int, default=128, help="tokens read first (128)")
    measure.add_argument("--generate", type=int, default=128, help="tokens written (128)")
    measure.add_argument("--price", type=float, help="dollars per machine-hour (catalog)")
    measure.add_argument("--json", action="store_true", help="print JSON")
    catalog = commands.add_parser("catalog", help="dated facts: chips, machines, prices, runs")
    catalog.add_argument("table", nargs="?", help="which table; none lists them")
    catalog.add_argument("--json", action="store_true", help="print JSON")
    for name, text in _PASSED_ON.items():
        commands.add_parser(name, help=text, add_help=False)
    given = list(sys.argv[1:] if argv is None else argv)
    if given and given[0] in _PASSED_ON:  # these read their own options, --help among them
        args, rest = argparse.Namespace(command=given[0]), given[1:]
    else:
        args, rest = parser.parse_known_args(given)
    if rest and args.command not in _PASSED_ON:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    run = {
        "train": _train, "advise": _advise, "report": _report, "measure": _measure,
        "catalog": _catalog,
    }  # fmt: skip
    try:
        return run.get(args.command, _estimate)(args, rest)
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, OSError) as error:
        print(f"costlab: {error}", file=sys.stderr)
        return 2


def _train(args: argparse.Namespace, rest: list[str]) -> int:
    from costlab.lm.trainer import main as train

    return train(rest)


def _estimate(args: argparse.Namespace, rest: list[str]) -> int:
    from costlab.estimate import shell

    return shell.main([args.command, *rest])


def _advise(args: argparse.Namespace, rest: list[str]) -> int:
    from costlab.advisor import shell

    return shell.main(rest)


def _report(args: argparse.Namespace, rest: list[str]) -> int:
    from costlab.report import main as report

    return report(rest)


def _measure(args: argparse.Namespace, rest: list[str]) -> int:
    import costlab
    from costlab.report.measured import load

    folder = args.path is not None and os.path.isdir(args.path)
    model, batches = load(args.path)[:2] if folder else (costlab.load_model(args.path), None)
    bill = costlab.measure(
        model,
        batches,
        batch=args.batch,
        prompt=args.prompt,
        generate=args.generate,
        price=args.price,
    )
    print(bill.to_json() if args.json else bill)
    return 0


def _catalog(args: argparse.Namespace, rest: list[str]) -> int:
    from costlab import catalog

    tables = (
        "accelerators", "machines", "models", "prices",
        "published_runs", "serving_ledgers", "serving_results",
    )  # fmt: skip
    if args.table is None:
        print("\n".join(tables))
        return 0
    if args.table not in tables:
        raise ValueError(f"table must be one of {', '.join(tables)}, got {args.table!r}")
    rows = catalog.as_rows(getattr(catalog, args.table)())
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        print("; ".join(f"{key}: {value}" for key, value in row.items() if value not in (None, "")))
    return 0
