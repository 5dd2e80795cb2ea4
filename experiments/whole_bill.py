"""Every combination of the book's serving steps on one model, one traffic, one promise: the ledger.

Each model, with each cache, is timed in passes of several shapes, and scored; the traffic is then
rehearsed at that pace for every combination of steps. Writes `costlab/results/whole_bill.json`. Run
it by `make experiments`, or `python experiments/whole_bill.py` (some ten minutes on one core;
`--only` does one kind of work; `--quick` takes one model and writes nothing). It counts processor
time, so that what else the machine does is not recorded. Finished runs are kept in `_build/`:
interrupt, and repeat the command to go on.
"""

import argparse
import json
import logging
import time
import warnings
from dataclasses import asdict, fields
from functools import cache
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor, nn

import costlab
from costlab import results, serve, workload
from costlab.bill.machine import this_machine
from costlab.bill.quality import score, share_that_parses
from costlab.calibration import calibration_batches
from costlab.compress.cache import QuantizedKVCache
from costlab.lm import corpus
from costlab.lm.model import LanguageModel
from costlab.optimize.shearing import unit_scores
from costlab.serve import Split, split
from costlab.serve.pace import Pace, paces_of

KEPT = Path(__file__).resolve().parent.parent / "_build" / "whole_bill.json"
STEPS = {
    "batch": "continuous batching; prompts are read on machines of their own",
    "prefixes": "the beginnings that prompts share are read once",
    "kv8": "keys and values in 8-bit integers",
    "shear": "three quarters of the neurons taken out in every layer but the last, where they idle",
    "half": "half of the neurons taken out in every layer",
    "int8": "weights and inputs in 8-bit integers",
    "int4": "weights in 4-bit integers, a scale for each 32",
    "bf16": "weights and arithmetic in bf16",
}
LOSSLESS = ("batch", "prefixes")
EITHER = ({"shear", "half"}, {"int8", "int4", "bf16"})  # of each, one at most
MODELS = ("", "shear", "half", "int8", "int4", "shear int8", "shear int4", "half int8", "half int4")
ROWS, SCORED, SEEDS, PREFIXES, SAMPLE = (1, 4, 16), 16_384, (0, 1, 2), 64, 20
PROMPTS = 32  # completions of each seed
TRAFFIC = {"hour": (36_000, 39_600), "load": 8, "slice": (36_600, 36_720)}
PROMISE = 2  # times what a token takes one request at a time


def traffic() -> workload.Trace:
    """Two minutes of a busy hour, thickened as the real one is."""
    thick = workload.day().slice(*TRAFFIC["hour"]).scaled(TRAFFIC["load"])
    return thick.slice(*TRAFFIC["slice"])


@cache
def sheared(name: str) -> LanguageModel:
    """The book's model, or without the neurons that `shear` or `half` takes."""
    model = costlab.load_model()
    if not name:
        return model
    seen = calibration_batches(model, None, windows=16)
    if name == "half":
        return costlab.shear(model, fraction=0.5, calibration=seen)
    found = unit_scores(model, calibration=seen).values()
    for block, scores in zip(model.model.layers[:-1], found):
        narrow(block.mlp, scores.argsort(descending=True))
    return model


def narrow(mlp: nn.Module, ranked: Tensor) -> None:
    """Keep a quarter of the neurons, in place."""
    stay = ranked[: ranked.numel() // 4].sort().values
    for layer, dimension in ((mlp.gate_proj, 0), (mlp.up_proj, 0), (mlp.down_proj, 1)):
        layer.weight = nn.Parameter(layer.weight.detach().index_select(dimension, stay))
        layer.out_features, layer.in_features = layer.weight.shape


@cache
def made(name: str) -> LanguageModel:
    """The model after the steps that change it, such as 'shear int8'."""
    base = next((step for step in ("shear", "half") if step in name), "")
    model = sheared(base)
    if "int8" in name:
        return costlab.quantize(model, bits=8, activations="dynamic")
    if "int4" in name:
        return costlab.quantize(model, bits=4, granularity="group", group_size=32)
    return costlab.load_model().bfloat16() if "bf16" in name else model


class WithCache(nn.Module):
    """A model that reads a text through a cache of 8-bit integers, to be scored."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, positions, vocab)."""
        return self.model(tokens, QuantizedKVCache(tokens.shape[1], bits=8))


def paced(repeats: int = 6) -> list[dict]:
    """Seconds of passes of all models, timed in turn, as fitted paces."""
    asked = [(model, kv8) for model in MODELS for kv8 in (False, True)] + [("bf16", False)]
    timed = [(made(model), 8 if kv8 else None) for model, kv8 in asked]
    found = paces_of(timed, rows=ROWS, repeats=repeats, of=min, clock=time.process_time)
    return [{"model": m, "kv8": kv8, **asdict(pace)} for (m, kv8), pace in zip(asked, found)]


def scored(model: str, kv8: bool, limit: int = SCORED) -> dict:
    """Bits per byte, flipped tokens, share of completions that parse from each seed."""
    held_out = corpus.validation_batches(context=256, limit=limit)
    read = WithCache(made(model)) if kv8 else made(model)
    found = score(read, held_out, costlab.load_model())
    sampled = not kv8 and model != "bf16"
    return {
        "bits_per_byte": found.bits_per_token,
        "flips": found.flips,
        "parses": [share_that_parses(read, limit=PROMPTS, seed=s) for s in SEEDS]
        if sampled
        else None,
    }


def library() -> dict:
    """How many times as long `generate` of transformers takes as ours, on every 20th request."""
    from transformers import LlamaConfig, LlamaForCausalLM

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    model, text = costlab.load_model(), corpus.validation_text()
    shape = model.config.to_transformers()
    peer = LlamaForCausalLM(LlamaConfig(**shape)).eval()
    peer.load_state_dict(model.state_dict())
    asked = [(workload.text_for(r, text), r.output_tokens) for r in traffic().requests()][::SAMPLE]
    took = {"ours": [], "transformers": []}
    for _ in range(3):
        for name in took:
            began = time.process_time()
            for prompt, tokens in asked:
                ids = torch.tensor([list(prompt)])
                if name == "ours":
                    costlab.generate(model, ids, tokens=tokens)
                else:
                    peer.generate(ids, max_new_tokens=tokens, min_new_tokens=tokens,
                                  attention_mask=torch.ones_like(ids), do_sample=False,
                                  pad_token_id=0)  # fmt: skip
            took[name].append(time.process_time() - began)
    return {name: min(seconds) for name, seconds in took.items()}


WORK = {"pace": paced, "quality": scored, "library": library}


def plan() -> list[dict]:
    """What is timed, then what is scored."""
    each = [{"model": m, "kv8": kv8} for m in MODELS for kv8 in (False, True)]
    each += [{"model": "bf16", "kv8": False}]
    return [
        {"kind": "library"},
        {"kind": "pace"},
        *({"kind": "quality", **one} for one in each),
    ]


def run(wanted: dict) -> dict:
    """Do what is wanted; what was found beside it, and the seconds it took."""
    began = time.process_time()
    options = {name: value for name, value in wanted.items() if name != "kind"}
    found = WORK[wanted["kind"]](**options)
    return wanted | {"found": found, "seconds": time.process_time() - began}


# --- the ledger, from what was found


def combined(models: set[str]) -> list[frozenset]:
    """Every combination of steps for which there is a model."""
    every = (frozenset(c) for n in range(len(STEPS) + 1) for c in combinations(STEPS, n))
    known = lambda on: model_of(on) in models and not ("bf16" in on and "kv8" in on)  # noqa: E731
    return [on for on in every if known(on) and all(len(on & group) < 2 for group in EITHER)]


def model_of(on: frozenset) -> str:
    """The name of the model that these steps make."""
    return " ".join(s for s in STEPS if s in on and s not in (*LOSSLESS, "kv8"))


class Rehearsals:
    """The traffic at each pace that was found."""

    def __init__(self, paces: dict[tuple, Pace]) -> None:
        self.paces, self.trace = paces, traffic()
        self.hour = this_machine().price_per_hour
        self.base = self.of(frozenset(), tpot=float("inf"))
        self.promise = PROMISE * self.base.tpot

    def of(self, on: frozenset, tpot: float | None = None) -> Split:
        """What the traffic takes with these steps on."""
        return split(
            made(model_of(on)), self.trace, pace=self.paces[model_of(on), "kv8" in on],
            tpot=tpot or self.promise, most=max(ROWS) if "batch" in on else 1,
            prefixes=PREFIXES if "prefixes" in on else 0, price=self.hour,
        )  # fmt: skip

    def naive(self) -> float:
        """Dollars a megabyte where the whole text is read again for every byte."""
        read = self.paces["", False].read
        seconds = sum(
            read(r.prompt_tokens + written)
            for r in self.trace.requests()
            for written in range(r.output_tokens)
        )
        return seconds / 3600 * self.hour / self.trace.output_tokens.sum() * 1e6

    def together(self, places: int) -> dict:
        """One machine that reads whole prompts between two steps."""
        found = serve.replay(
            made(""), serve.at_rate(self.trace, 1e6), pace=self.paces["", False],
            policy=serve.Policy(places=places), price=self.hour,
        )  # fmt: skip
        return {"places": places, "tpot": found.tpot(95),
                "dollars_per_megabyte": found.dollars_per_million_tokens}  # fmt: skip


def ledger(done: list[dict]) -> dict:
    """Rows of all combinations, each step and each pair; whether pairs compose."""
    of = {kind: [r for r in done if r["kind"] == kind] for kind in WORK}
    quality = {(r["model"], r["kv8"]): r["found"] for r in of["quality"]}
    measured = of["pace"][0]["found"]
    numbers = [field.name for field in fields(Pace)]
    paces = {(p["model"], p["kv8"]): Pace(*(p[n] for n in numbers)) for p in measured}
    acted = Rehearsals(paces)
    rows = {on: row(on, acted.of(on), quality) for on in combined({m for m, _ in paces})}
    mark_front(list(rows.values()))
    cost = {on: each["dollars_per_megabyte"] for on, each in rows.items()}
    start = frozenset()
    alone = {step: cost[start] / cost[frozenset({step})] for step in STEPS}
    took = of["library"][0]["found"]
    return {
        "setup": {"traffic": TRAFFIC, "promise": PROMISE, "rows": ROWS, "seeds": SEEDS,
                  "scored": SCORED, "prefixes": PREFIXES, "prompts": PROMPTS},
        "requests": len(acted.trace),
        "price_per_hour": acted.hour,
        "promised_tpot": acted.promise,
        "steps": STEPS,
        "baselines": {
            "naive": acted.naive(),
            "transformers": cost[start] * took["transformers"] / took["ours"],
            "competent": cost[start],
        },
        "together": [acted.together(places) for places in (1, 2, 3, 4, 8, 16)],
        "rows": list(rows.values()),
        "singles": [single(step, alone, rows) for step in STEPS],
        "pairs": [pair(p, alone, cost) for p in combinations(STEPS, 2) if frozenset(p) in cost],
        "paces": measured,
    }  # fmt: skip


def row(on: frozenset, found: Split, quality: dict) -> dict:
    """One combination: dollars, promise, quality."""
    return {
        "on": [step for step in STEPS if step in on],
        "dollars_per_megabyte": found.dollars_per_million_tokens,
        "places": found.places,
        "tpot": found.tpot,
        "keeps_promise": found.keeps_promise,
        "read_seconds": found.read_seconds,
        "write_seconds": found.write_seconds,
        **quality[model_of(on), "kv8" in on],
    }


def mark_front(rows: list[dict]) -> None:
    """Say of each row whether no other that keeps the promise is as cheap and as good."""
    kept = [each for each in rows if each["keeps_promise"]]
    for one in rows:
        beaten = any(
            other["dollars_per_megabyte"] <= one["dollars_per_megabyte"]
            and other["bits_per_byte"] <= one["bits_per_byte"]
            for other in kept
            if other is not one
        )
        one["front"] = one["keeps_promise"] and not beaten


def single(step: str, alone: dict[str, float], rows: dict) -> dict:
    """A step's factor with all others off, and what it loses."""
    here, start = rows[frozenset({step})], rows[frozenset()]
    return {
        "step": step,
        "factor": alone[step],
        "keeps_promise": here["keeps_promise"],
        "lost_bits_per_byte": here["bits_per_byte"] - start["bits_per_byte"],
        "flips": here["flips"],
    }


def pair(steps: tuple[str, str], alone: dict[str, float], cost: dict) -> dict:
    """Two steps: their factor together, beside the product of each one's alone."""
    together = cost[frozenset()] / cost[frozenset(steps)]
    product = alone[steps[0]] * alone[steps[1]]
    return {"steps": steps, "factor": together, "product": product, "composes": together / product}


def main(argv: list[str] | None = None) -> list[dict]:
    """Run what is not there yet, and record all."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--quick", action="store_true", help="one model, little text, no record")
    options.add_argument("--only", choices=WORK, help="these alone, and no record")
    asked = options.parse_args(argv)
    torch.set_num_threads(1)
    if asked.quick:
        return [scored("int8", True, limit=512)]
    setup = {"models": MODELS, "rows": ROWS, "scored": SCORED, "seeds": SEEDS, "prompts": PROMPTS}
    done = results.kept(KEPT, setup)
    wanted = [one for one in plan() if asked.only in (None, one["kind"])]
    for one in results.missing(wanted, done):
        done.append(run(one))
        results.keep(KEPT, setup, done)
        print(json.dumps(done[-1]), flush=True)
    if asked.only:
        return done
    results.record("whole_bill", ledger(done), seconds=sum(r["seconds"] for r in done))
    return done


if __name__ == "__main__":
    main()
