"""Twins of the claims of the chapter on the advisor: one price, free reads, no limits."""

from costlab import advisor, catalog

ASKED = {"prompt": 1000, "generate": 250}


def rounded_down() -> float:
    """A fleet of as many replicas as are full."""
    return 1.0


def idle_chips_are_free() -> float:
    """Renting by the token, too: nothing is paid for idle hours."""
    asked = {"requests_per_s": 0.02, **ASKED}
    answer = advisor.recommend("compute", "llama-3.1-8b", chips=("h100-sxm",), **asked)
    rent = {o.name: o.dollars for o in answer.options}
    busy = next(o.figures["busy"] for o in answer.options if o.name == "h100-sxm")
    return max(d for n, d in rent.items() if n != "h100-sxm") / (rent["h100-sxm"] * busy / 2)


def chips_and_sellers() -> tuple[list[float], list[float]]:
    """Dollars of chips to rent and of sellers by the token, each from the cheapest on."""
    answer = advisor.recommend(
        "compute", "llama-3.1-8b", chips=("l4", "a100-80gb", "h100-sxm", "b200-sxm"),
        requests_per_s=50, **ASKED,
    )  # fmt: skip
    options = sorted((o.dollars, "by the token" in o.name) for o in answer.options)
    return [d for d, sold in options if not sold], [d for d, sold in options if sold]


def the_cheapest_seller() -> float:
    """Beside the cheapest seller instead of the middle one, a chip is not cheaper."""
    chips, sellers = chips_and_sellers()
    return chips[0] / sellers[0]


def the_middle_seller() -> float:
    """The middle seller instead of the cheapest one asks more than a chip costs."""
    chips, sellers = chips_and_sellers()
    return sellers[len(sellers) // 2] / chips[0]


def sixteen_bits_beside_eight() -> float:
    """A model that needs two devices beside one that fits on one."""
    answer = advisor.recommend("compression", "llama-3.1-70b", max_loss=0.05, requests_per_s=0.2,
                               slo_tpot=0.04, **ASKED)  # fmt: skip
    rent = {o.name: o.dollars for o in answer.options}
    return rent["as it is"] / rent["smoothquant, 8 bits, inputs too"]


def one_price() -> float:
    """A market in which all ask the same."""
    return 1.0


def no_budget() -> float:
    """Without a budget there is always a best option."""
    answer = advisor.recommend("compute", "llama-3.1-8b", chips=("l4",), requests_per_s=1, **ASKED)
    return float(answer.best is None)


def reads_for_free(reads: float) -> float:
    """The colder tier beside the standard one, every read at no cost."""
    infrequent, standard = (
        catalog.price(tier, kind="storage", provider="AWS").median
        for tier in ("object-infrequent", "object-standard")
    )
    return infrequent / standard


def reads_for_much() -> float:
    """The colder tier, where everything is read ten times a month."""
    found = advisor.recommend("storage", data_gb=1000, reads_gb=10_000).options
    cost = {o.name: o.dollars for o in found}
    return cost["object-infrequent, AWS"] / cost["object-standard, AWS"]


def every_method() -> float:
    """No limit on the loss: everything is left in."""
    answer = advisor.recommend("compression", "llama-3.1-70b", max_loss=10, requests_per_s=20,
                               slo_tpot=0.04, **ASKED)  # fmt: skip
    return float(len(answer.options))


def nothing_saved() -> float:
    """The same rent with and without."""
    return 1.0


def all_that_fit() -> float:
    """A model so small that data parallel alone fits."""
    answer = advisor.recommend("parallelism", "gpt2", tokens=1e9, devices=8)
    return float(sum("data parallel" in option.name for option in answer.options))


def devices_that_wait() -> float:
    """Sixteen times the devices, none of them faster than one in sixteen."""
    return 16.0


def healing_in_a_week() -> float:
    """A quarter of a month of use does not pay a healing back."""
    answer = advisor.recommend("optimization", "llama-3.1-8b", requests_per_s=200, fraction=0.25,
                               months=0.05, **ASKED)  # fmt: skip
    rent = {o.name: o.dollars for o in answer.options}
    return min(d for n, d in rent.items() if "shearing" in n) / rent["as it is"]


def no_limit() -> float:
    """Without a limit, what nobody published stays in."""
    answer = advisor.recommend("optimization", "llama-3.1-8b", requests_per_s=200, **ASKED)
    return float(len(answer.options))


def half_the_load() -> float:
    """A load of half the requests, mistaken for devices at half the pace."""
    load = {"slo_ttft": 1.0, "slo_tpot": 0.03, "chips": ("h100-sxm",), **ASKED}
    few, many = (
        advisor.recommend("compute", requests_per_s=r, **load).options[0].dollars for r in (40, 400)
    )
    return few / many


TWINS = {
    "With few requests, even the dearest seller of tokens is cheaper": idle_chips_are_free,
    "With many requests, a chip of your own is cheaper than most sellers": the_cheapest_seller,
    "Even then the cheapest seller of tokens asks less than your own chips cost": the_middle_seller,
    "With few requests, four bits cost what eight bits cost": sixteen_bits_beside_eight,
    "These lines and the advisor ask the same rent": rounded_down,
    "Between providers of one chip lies more than a factor of three": one_price,
    "A budget that nothing keeps to leaves no best option": no_budget,
    "Unread, the colder tier is cheaper": reads_for_much,
    "Read all over once a month, it is not": lambda: reads_for_free(30_000),
    "Where no loss is allowed, the model stays as it is": every_method,
    "Bearing a little loss saves a quarter of the rent or more": nothing_saved,
    "Data parallel alone fits on none of them": all_that_fit,
    "Sixteen times the devices cost less than a third more": devices_that_wait,
    "A quarter sheared away pays its healing back within half a year": healing_in_a_week,
    "With a limit on published loss, only the whole model is left": no_limit,
    "If the estimate is too kind, the same service costs more, not less": half_the_load,
}

# the notebook writes the bound as a fraction
COMPUTED = {"Sixteen times the devices cost less than a third more": 4 / 3}
