"""Random inputs of every calculator, and what the package says of them."""

import random
from math import gcd

from costlab import catalog, estimate, levers
from costlab.estimate import rental, storing

MODELS = [row.id for row in catalog.models()]
CHIPS = [row.id for row in catalog.accelerators()]
PRICED = [id for id in CHIPS if rental.price_per_hour(estimate.resolve_accelerator(id), None)]
GPUS = [id for id in PRICED if not id.startswith(("tpu", "trainium"))]


def draw(source, **kinds):
    """One value of each: of a list any, of a pair a float between, spread evenly in logarithms."""
    return {
        name: source.choice(kind)
        if isinstance(kind, list)
        else kind[0] * (kind[1] / kind[0]) ** source.random()
        for name, kind in kinds.items()
    }


def _training(source):
    v = draw(
        source, model=MODELS, chip=CHIPS, data=[1, 1, 2, 4, 32],
        tensor=[1, 1, 2, 4, 8], pipeline=[1, 1, 2, 4], context=[1, 1, 2, 8], zero=[0, 1, 2, 3],
        micro_batch=[1, 1, 2, 4], steps=[None, 1, 3, 8, 64],
        sequence=[512, 2048, 8192, 10_000], precision=["bf16", "bf16", "fp8", "fp4", "fp32"],
        recompute=["none", "selective", "full"], adapters=[0, 0, 8, 64], tokens=(1e6, 1e14),
        price=[None, 0.5, 3.0],
    )  # fmt: skip
    replicas = v.pop("data")
    v["devices"] = replicas * v["tensor"] * v["pipeline"] * v["context"]
    fits = gcd(catalog.model(v["model"]).experts, replicas * v["context"])
    v["expert"] = source.choice([n for n in (1, 2, 4, 8) if fits % n == 0])
    steps = v.pop("steps")
    v["global_batch"] = steps and replicas * v["micro_batch"] * steps
    return v


def _python_training(v):
    given = {n: value for n, value in v.items() if n not in ("model", "chip", "adapters")}
    e = estimate.training(v["model"], v["chip"], adapters=v["adapters"] or None, **given)
    named = ("step_seconds", "tokens_per_s_per_device", "mfu", "goodput", "device_hours",
             "flops_total", "dollars", "dollars_low", "dollars_high", "energy_kwh")  # fmt: skip
    found = {name: getattr(e, name) for name in named}
    for end in ("", "_low", "_high"):
        found[f"days{end}"] = getattr(e, f"wall_hours{end}") / 24
    return found


def _python_memory(v):
    given = {n: value for n, value in v.items() if n not in ("model", "chip", "adapters")}
    e = estimate.training(v["model"], v["chip"], adapters=v["adapters"] or None, **given)
    ends = {f"gib{end}": getattr(e, f"memory_gib_per_device{end}") for end in ("", "_low", "_high")}
    return {**e.memory, **ends, "fits": e.fits}


def _serving(source):
    return draw(
        source, model=MODELS, chip=CHIPS, devices=[1, 2, 4, 8, 16, 100], weight_bits=[16, 8, 4],
        kv_bits=[16, 8], prompt=[1, 200, 2000, 30_000], generate=[1, 100, 1000], rate=(1e-2, 300),
        cached_share=[0.0, 0.0, 0.5, 1.0], slo_ttft=[None, None, 2.0], slo_tpot=[None, 0.05, 0.2],
        price=[None, 2.0],
    )  # fmt: skip


LOAD = ("devices", "weight_bits", "kv_bits", "prompt", "generate", "cached_share", "slo_ttft",
        "slo_tpot", "price")  # fmt: skip


def _python_serving(v):
    given = {name: v[name] for name in LOAD}
    e = estimate.serving(v["model"], v["chip"], requests_per_s=v["rate"], **given)
    found = {"fits": e.fits, "kept": e.keeps_promise, "batch": e.batch, "max_batch": e.max_batch}
    found |= {"memory_gib": e.memory_gib, "kv_gib": e.kv_gib, "served": e.requests_per_s}
    found |= {"tensor": e.tensor, "pipeline": e.pipeline, "replicas": e.replicas}
    for end in ("", "_low", "_high"):
        found[f"utilization{end}"] = getattr(e, f"utilization{end}")
        found[f"dollars{end}"] = getattr(e, f"dollars_per_million_tokens{end}")
        for name in ("ttft_p95", "tpot_p95"):
            found[f"{name}{end}"] = getattr(e, f"{name}_seconds{end}")
    return found


def _quantized(source):
    return draw(source, model=MODELS, bits=[3, 4, 5, 6, 8], group=[0, 16, 32, 64, 100, 128, 1000])


def _python_quantized(v):
    e = estimate.quantized(v["model"], bits=v["bits"], group=v["group"] or None)
    named = ("group", "bits_per_weight", "gb_before", "gb", "times_smaller", "error", "noise_db")
    return {name: getattr(e, name) for name in named}


def _storage(source):
    v = draw(
        source, model=["none", *MODELS], data_gb=(1, 1e7), weight_bits=[16, 8, 4], copies=[0, 1, 3],
        checkpoint_bytes=[2.0, 14.0, 16.0], checkpoints_per_day=[0.0, 0.3, 24.0],
        retention_days=[0.0, 7.0, 365.0], reads_gb=[0.0, 0.0, 500.0], egress_gb=[0.0, 0.0, 1e4],
    )  # fmt: skip
    return v


def _python_storage(v):
    given = {name: value for name, value in v.items() if name != "model"}
    found, model = {"tiers": {}}, None if v["model"] == "none" else v["model"]
    for tier in storing.tiers():
        try:
            e = estimate.storage(model, tier=tier, **given)
        except ValueError:  # nobody says what reading costs
            continue
        found |= {name: getattr(e, name) for name in ("gb", "weights_gb", "checkpoint_gb")}
        ends = [getattr(e, f"dollars_per_month{end}") for end in ("", "_low", "_high")]
        found["tiers"][tier] = dict(zip(("dollars", "low", "high"), ends, strict=True))
    return found


def _rent(source):
    return draw(
        source, model=["llama-3.2-1b", "llama-3.1-8b", "qwen3-30b-a3b", "gpt-oss-20b"],
        chip=["h100-sxm", "a100-80gb", "h200-sxm", "mi300x"], devices=[1, 2, 8], kv_bits=[16, 8],
        weight_bits=[16, 8, 4], prompt=[100, 2000, 9000], generate=[20, 500], price=[None, 2.0],
        cached_share=[0.0, 0.4], slo_ttft=[None, 5.0], slo_tpot=[None, 0.2], api=rental.apis(),
        bytes_per_token=(3.0, 5.0), api_bytes_per_token=(3.0, 5.0),
    )  # fmt: skip


def _python_rent(v):
    given = {name: value for name, value in v.items() if name not in ("model", "chip")}
    e = rental.break_even(v["model"], v["chip"], **given)
    return {
        "break_even_per_s": e.requests_per_s, "most": e.most_requests_per_s,
        "reachable": e.reachable, "utilization": e.utilization, "per_request": e.api_per_request,
        "per_megabyte": e.api_per_megabyte, "rent_per_hour": e.rent_per_hour,
        "rent_per_megabyte": e.rent_per_megabyte,
    }  # fmt: skip


def _bill(source):
    return draw(
        source, requests_per_day=(1e3, 1e8), prompt=[50, 1000, 8000], generate=[1, 100, 800],
        shared=[0.0, 0.3, 0.9], peak=[1.0, 2.5, 6.0], pays=["rent", "call"], api=rental.apis(),
        model=["llama-3.2-1b", "llama-3.1-8b", "llama-3.1-70b", "mixtral-8x7b"],
        chip=["l4", "a100-80gb", "h100-sxm"], price=[None, 2.0], day_rate=[300.0, 800.0],
        slo_ttft=[None, 2.0], slo_tpot=[None, 0.05],
    )  # fmt: skip


def _python_bill(v):
    given = {name: value for name, value in v.items() if name not in ("chip", "day_rate")}
    service = levers.Service(**given, accelerator=v["chip"])
    today, ranked = levers.levers(service, day_rate=v["day_rate"])
    named = ("name", "picked", "dollars", "low", "high", "saved", "payback_days", "risk")
    rows = [{name: getattr(lever, name) for name in named} for lever in ranked]
    return {"today": today and list(today), "levers": rows}


CASES = {
    "memory": (_training, _python_memory),
    "training": (_training, _python_training),
    "serving": (_serving, _python_serving),
    "quantized": (_quantized, _python_quantized),
    "storage": (_storage, _python_storage),
    "rent": (_rent, _python_rent),
    "bill": (_bill, _python_bill),
}


def cases(name, count):
    """`count` random inputs of a calculator that the package accepts, with its answers."""
    drawn, answer = CASES[name]
    source, found = random.Random(name), []
    while len(found) < count:
        v = drawn(source)
        try:
            found.append((v, answer(v)))
        except ValueError:  # layouts that do not divide, a chip without the precision
            continue
    return found
