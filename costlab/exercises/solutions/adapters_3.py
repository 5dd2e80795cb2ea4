"""Write `customers_on_a_card(memory, model, adapter)`: how many customers, each with an adapter of
its own, a card of `memory` gigabytes serves over one model. The model takes `model` gigabytes, an
adapter `adapter`. Leave the caches out. If the model does not fit, the answer is 0.

Why: the model is held once. What it leaves is divided among adapters, and a customer in part is
no customer.
"""


def customers_on_a_card(memory: float, model: float, adapter: float) -> float:
    """Adapters that fit beside one model."""
    left = memory - model
    return max(0, left // adapter)


answer = customers_on_a_card
