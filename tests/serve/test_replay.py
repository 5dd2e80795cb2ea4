"""replay: the text of each request served alone, a clock that adds up, others left unharmed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab import generate, serve, workload
from costlab.serve import Pace, Policy, at_rate, pace_of, paces_of, replay
from costlab.serve.engine import Engine, Job
from costlab.serve.pace import _fit
from costlab.serve.replay import cache_bytes
from costlab.workload.trace import Trace

REQUESTS = 9


def trace(seed=0, requests=REQUESTS, spread=0.02, longest=20):
    """A few requests close together; every second one begins like the first."""
    dice = np.random.default_rng(seed)
    prompts = dice.integers(8, longest, requests)
    return Trace(
        arrival_seconds=np.sort(dice.random(requests) * spread),
        prompt_tokens=prompts,
        output_tokens=dice.integers(1, 16, requests),
        prefix_id=np.where(np.arange(requests) % 2, -1, 7),
        prefix_tokens=np.where(np.arange(requests) % 2, 0, 6),
        tenant=np.zeros(requests),
        stop=1,
    )


def texts(asked, vocab=256, seed=0):
    """Prompts of the trace's lengths; those that share a prefix begin alike."""
    dice = torch.Generator().manual_seed(seed)
    head = torch.randint(1, vocab, (6,), generator=dice)
    found = []
    for request in asked.requests():
        ids = torch.randint(1, vocab, (request.prompt_tokens,), generator=dice)
        if request.prefix_id >= 0:
            ids[:6] = head
        found.append(ids)
    return found


def alone(model, prompts, asked):
    """What each request is answered on its own."""
    pairs = zip(prompts, asked.output_tokens.tolist(), strict=True)
    return [tuple(generate(model, ids, tokens=n)[0].tolist()) for ids, n in pairs]


POLICIES = {
    "continuous": Policy(places=4),
    "one after another": Policy(places=1),
    "static": Policy("static", places=4),
    "chunked": Policy(places=3, chunk=3),
    "static, chunked": Policy("static", places=3, chunk=5),
    "prefixes": Policy(places=4, prefixes=2),
    "prefixes, chunked": Policy(places=4, prefixes=2, chunk=4),
}


@pytest.fixture(scope="module")
def double(request):
    """A tiny model in float64, whose likeliest tokens no order of adding changes."""
    from costlab.lm.model import Config, LanguageModel

    torch.manual_seed(0)
    shape = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "ffn": 48}
    model = LanguageModel(Config(**shape, context=64))
    for p in model.parameters():
        torch.nn.init.normal_(p, mean=float(p.ndim == 1), std=0.3)
    return model.double().eval()


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_each_request_gets_the_text_it_gets_alone(double, policy):
    asked = trace()
    prompts = texts(asked)
    found = replay(double, asked, policy=policy, prompts=prompts, price=1)
    assert [one.tokens for one in found.served] == alone(double, prompts, asked)
    if policy.prefixes:
        assert sum(one.reused for one in found.served) == 6 * (REQUESTS // 2)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("policy", ["continuous", "static", "prefixes, chunked"])
def test_models_of_transformers(peers, name, policy):
    model, asked = peers[name], trace(1)
    prompts = texts(asked, 99)
    found = replay(model, asked, policy=POLICIES[policy], prompts=prompts, price=1)
    for one, ids, n in zip(found.served, prompts, asked.output_tokens.tolist(), strict=True):
        theirs = model.generate(
            ids[None], attention_mask=torch.ones_like(ids[None]), max_new_tokens=n,
            do_sample=False, pad_token_id=0,
        )  # fmt: skip
        assert one.tokens == tuple(theirs[0, len(ids) :].tolist())


@settings(max_examples=20)
@given(
    seed=st.integers(0, 50),
    places=st.integers(1, 5),
    chunk=st.one_of(st.none(), st.integers(1, 9)),
    batching=st.sampled_from(["continuous", "static"]),
    prefixes=st.integers(0, 1),
    leaves=st.dictionaries(st.integers(0, 4), st.floats(0, 0.05), max_size=2),
)
def test_any_schedule_serves_everyone_else_in_order(
    double, seed, places, chunk, batching, prefixes, leaves
):
    asked = trace(seed, requests=5)
    prompts = texts(asked)
    policy = Policy(batching, places=places, chunk=chunk, prefixes=prefixes)
    found = replay(
        double, asked, policy=policy, prompts=prompts, price=1, canceled=leaves
    )  # fmt: skip
    for one, right in zip(found.served, alone(double, prompts, asked), strict=True):
        assert one.tokens == (right[: len(one.tokens)] if one.canceled else right)
        assert not one.canceled or one.index in leaves
        assert len(one.times) == len(one.tokens)
        assert list(one.times) == sorted(one.times)
        assert not one.times or one.times[0] > one.arrival
    assert 0 < found.busy_seconds <= found.seconds


def test_without_a_mask_rows_of_other_lengths_are_spoiled(double, monkeypatch):
    monkeypatch.setattr(serve.slots.SlotCache, "mask", lambda self, new, device, **_: None)
    asked = trace()
    prompts = texts(asked)
    found = replay(double, asked, policy=POLICIES["continuous"], prompts=prompts, price=1)
    assert [one.tokens for one in found.served] != alone(double, prompts, asked)


def test_a_prefix_that_differs_is_not_reused(double):
    asked = trace()
    prompts = texts(asked)
    prompts[2][0] = 255 - prompts[2][0]
    found = replay(double, asked, policy=POLICIES["prefixes"], prompts=prompts, price=1)
    assert [one.tokens for one in found.served] == alone(double, prompts, asked)
    assert found.served[2].reused == 0
    assert found.served[4].reused == 6


def test_the_store_keeps_as_many_prefixes_as_it_may(double):
    engine = Engine(double, Policy(prefixes=2), 64)
    for prefix in (1, 2, 1, 3):
        job = Job(0, 0.0, torch.full((1, 8), prefix), 1, prefix, 4)
        engine.turn([job])
    assert list(engine.prefixes) == [1, 3]


def test_idle_time_takes_no_time_and_is_paid_for(double):
    asked = replace(trace(spread=0.02), stop=3600)
    found = replay(double, asked, prompts=texts(asked), price=2.0)
    assert found.seconds == 3600
    assert found.dollars == 2.0
    assert found.utilization < 0.1
    assert found.dollars_per_million_tokens == pytest.approx(2e6 / found.tokens)
    assert found.capacity > found.requests_per_second


def test_a_rehearsal_takes_the_same_turns_at_a_given_pace(double):
    asked = replace(trace(), arrival_seconds=np.zeros(REQUESTS))
    prompts, pace = texts(asked), Pace(1.0, 0, 0, 0, 0.5, 0)  # a second a step, half a token read
    for policy in POLICIES.values():
        real = replay(double, asked, policy=policy, prompts=prompts, price=1)
        found = replay(double, asked, policy=policy, prompts=prompts, price=1, pace=pace)
        assert found.passes == real.passes
        assert [one.reused for one in found.served] == [one.reused for one in real.served]
        read = sum(one.prompt - one.reused for one in found.served)
        steps = found.busy_seconds - read / 2
        assert steps == round(steps)
        assert (steps + REQUESTS == found.passes) or policy.chunk


def test_one_request_after_another_at_a_given_pace_is_arithmetic(double):
    asked = replace(trace(), arrival_seconds=np.zeros(REQUESTS))
    pace = Pace(2.0, 1.0, 0.25, 3.0, 0.5, 0.125)
    found = replay(
        double, asked, policy=Policy(places=1), prompts=texts(asked), price=1, pace=pace
    )  # fmt: skip
    clock = 0.0
    for one, p, n in zip(found.served, asked.prompt_tokens, asked.output_tokens, strict=True):
        clock += 3 + p * (0.5 + p / 2 * 0.125)
        assert one.times[0] == pytest.approx(clock)
        clock += sum(2 + 1 + 0.25 * (p + i) for i in range(1, n))
        assert one.times[-1] == pytest.approx(clock)
    assert found.seconds == pytest.approx(clock)


def test_percentiles_and_promise(double):
    asked = trace()
    found = replay(double, asked, prompts=texts(asked), price=1)
    waits = sorted(one.ttft for one in found.served)
    assert found.ttft(100) == waits[-1]
    assert found.ttft(50) == waits[4]
    for first, further, kept in ((1e9, 1e9, True), (1e-9, 1e9, False), (1e9, 1e-9, False)):
        assert replace(found, promise=workload.Promise(first, further)).keeps_promise is kept


def test_static_batches_wait_for_their_last_request(double):
    asked = replace(trace(), arrival_seconds=np.zeros(REQUESTS))
    few, steps = Policy("static", places=3), asked.output_tokens.reshape(3, 3).max(1) - 1
    found = replay(double, asked, policy=few, prompts=texts(asked), price=1)
    assert found.passes == REQUESTS + steps.sum()
    joined = replay(double, asked, policy=Policy(places=3), prompts=texts(asked), price=1)
    assert joined.passes < found.passes


def test_long_prompts_in_pieces_let_others_write_between(double):
    """With pieces of 4 the first request goes on while the second's 40 tokens are read."""
    engine = Engine(double, Policy(chunk=4), 64)
    jobs = [Job(i, 0.0, torch.ones(1, n, dtype=torch.long), 30) for i, n in enumerate((4, 40))]
    waiting, between = list(jobs), 0
    while not jobs[1].written:
        between += jobs[0] in engine.turn(waiting) and len(jobs[0].written) > 1
    assert between == 10


def test_a_quantized_cache_stays_close_and_small(tiny):
    model, asked = tiny(0), trace()
    prompts = texts(asked)
    found = replay(model, asked, policy=Policy(kv_bits=8, places=4), prompts=prompts, price=1)
    pairs = list(zip(found.served, alone(model, prompts, asked), strict=True))
    assert all(len(one.tokens) == len(right) for one, right in pairs)
    assert sum(one.tokens[0] == right[0] for one, right in pairs) >= REQUESTS - 2
    engine = Engine(model, Policy(kv_bits=8, places=2), 32)
    engine.turn([Job(0, 0.0, prompts[0][None], 2)])
    held = sum(
        t.numel() * t.element_size() for parts in engine.cache.stored.values() for t in parts
    )
    assert held == cache_bytes(model, 2 * 32, bits=8)
    assert cache_bytes(model, 64) == 64 * 2 * 2 * 2 * 8 * 4


def test_less_memory_leaves_fewer_places(double):
    each = cache_bytes(double, 30)
    asked = replace(trace(), output_tokens=30 - trace().prompt_tokens)
    found = replay(double, asked, policy=Policy(memory=2.5 * each), prompts=texts(asked), price=1)
    assert found.policy.places == 2
    assert len(found.finished) == REQUESTS


def test_a_request_that_cannot_be_served_harms_no_other(double):
    asked = trace()
    prompts = texts(asked)
    right = alone(double, prompts, asked)
    prompts[1], prompts[4], prompts[6] = b"", b"x" * 60, "\n".join("ab")
    asked = replace(asked, output_tokens=np.where(np.arange(REQUESTS) == 4, 9, asked.output_tokens))
    found = replay(double, asked, policy=POLICIES["chunked"], prompts=prompts, price=1)
    assert found.served[1].refused == "prompt is empty: give at least one token"
    assert found.served[4].refused.startswith("prompt (60) and tokens (9) exceed the model's")
    assert found.served[6].finished
    others = [i for i in range(REQUESTS) if i not in (1, 4, 6)]
    assert [found.served[i].tokens for i in others] == [right[i] for i in others]


def test_prompts_are_cut_from_the_validation_text():
    from costlab.lm.model import Config, LanguageModel

    torch.manual_seed(0)
    model = LanguageModel(Config(width=16, layers=1, heads=1, kv_heads=1, head_dim=8, ffn=16))
    asked = workload.day().slice(36_000, 36_060)
    found = replay(model, asked, price=1)
    assert [one.prompt for one in found.served] == asked.prompt_tokens.tolist()
    assert [len(one.tokens) for one in found.served] == asked.output_tokens.tolist()


def test_gaps_are_scaled_and_requests_are_not():
    asked = workload.day().slice(36_000, 36_100)
    faster = at_rate(asked, 50.0)
    assert faster.stop == pytest.approx(len(asked) / 50)
    assert faster.prompt_tokens.tolist() == asked.prompt_tokens.tolist()
    gaps, before = np.diff(faster.arrival_seconds), np.diff(asked.arrival_seconds)
    assert gaps == pytest.approx(before * faster.stop / 100)
    for wrong in (0, float("nan"), "1", 1e-6):
        with pytest.raises(ValueError, match=r"^requests_per_second must"):
            at_rate(asked, wrong)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"model": torch.nn.Linear(2, 2)}, TypeError, "model must be a language model"),
        ({"trace": trace().slice(0.5, 0.6)}, ValueError, "trace must be a Trace with at least"),
        ({"trace": [1]}, ValueError, "trace must be a Trace with at least one request, got list"),
        ({"policy": "fair"}, ValueError, "batching must be 'continuous' or 'static', got 'fair'"),
        ({"policy": 4}, TypeError, "policy must be a Policy or its batching, got int"),
        ({"policy": Policy(memory=100)}, ValueError, "memory must hold at least one request of"),
        ({"prompts": [b"x"]}, ValueError, "prompts must hold one for each of the 9 requests"),
        ({"price": -1}, ValueError, "price must be a positive number of dollars per hour"),
    ],
)
def test_bad_arguments_get_a_sentence_before_any_work(double, change, error, sentence):
    calls = []
    handle = double.register_forward_hook(lambda *call: calls.append(call))
    asked = {"model": double, "trace": trace(), "prompts": texts(trace()), "price": 1} | change
    with pytest.raises(error, match=f"^{sentence}"):
        replay(asked.pop("model"), asked.pop("trace"), **asked)
    handle.remove()
    assert not calls


def test_a_model_of_other_tokens_needs_prompts(peers):
    with pytest.raises(ValueError, match=r"^prompts must be given for a model that does not"):
        replay(peers["llama"], trace(), price=1)


def test_no_memory_for_the_cache_is_said(double):
    cache = serve.slots.SlotCache(1, 10**13)
    cache.rows = 1
    with pytest.raises(MemoryError, match=r"^no memory for a cache of 1 places of 10"):
        double(torch.ones(1, 3, dtype=torch.long), cache)


@pytest.mark.parametrize(
    "wrong", [{"places": 0}, {"chunk": 0}, {"prefixes": -1}, {"kv_bits": 3}, {"memory": 0}], ids=str
)
def test_bad_policies_are_named(wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
        Policy(**wrong)


def test_a_pace_is_fitted_to_passes(tiny):
    found = pace_of(tiny(0), rows=(1, 3), lengths=(8, 40), reads=(4, 16, 40), repeats=2)
    assert all(value >= 0 for value in vars(found).values())
    assert 0 < found.step(1, 20) < 1
    assert 0 < found.read(20) < 1
    with pytest.raises(TypeError, match=r"^model must be a language model, got str"):
        pace_of("gpt2")


def test_the_fit_finds_the_pace_that_made_the_times():
    terms = [(1, n, n * k) for n in (1, 4, 16) for k in (64, 384)]
    truth = [2e-3, 3e-4, 1e-6]
    times = [sum(a * b for a, b in zip(term, truth, strict=True)) for term in terms]
    assert _fit(terms, times) == pytest.approx(truth)
    assert _fit([(1, 1), (1, 2), (1, 3)], [3.0, 2.0, 1.0])[1] == 0


def test_paces_of_several_models_are_timed_in_turn(tiny):
    """A clock that ticks once a reading: every pass takes one tick, whichever model it is of."""
    ticks = iter(range(10_000))
    shape = {"rows": (1, 3), "lengths": (8, 40), "reads": (4, 16), "repeats": 2}
    asked = [(tiny(0), None), (tiny(1), 8)]
    found = paces_of(asked, of=min, clock=lambda: float(next(ticks)), **shape)
    assert len(found) == 2
    for pace in found:
        assert pace.step(2, 20) == pytest.approx(1, rel=1e-3)
        assert pace.read(10) == pytest.approx(1, rel=1e-3)
    with pytest.raises(TypeError, match=r"^model must be a language model, got str"):
        paces_of([(tiny(0), None), ("model", None)])
