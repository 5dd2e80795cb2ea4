"""Storage: everything comes back bit for bit, files say what they hold, and entropy is a bound."""

import json
import math
import sys
import types
import zlib
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import costlab
from costlab.bill import counting, memory
from costlab.compress import blueprints, encodings, storage
from costlab.compress.encodings import bit_patterns, decode, encode, entropy_bits
from costlab.compress.quantization import quantize
from costlab.compress.storage import load, save
from costlab.lm import pretrained
from costlab.lm.pretrained import WEIGHTS, read_whole, write_whole

FORMATS = ["safetensors", "packed", "sparse"]
KINDS = [
    torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.uint8,
    torch.bool, torch.int16, torch.int32, torch.int64,
]  # fmt: skip


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are equal to the bit: torch.equal says 0.0 == -0.0 and NaN != NaN."""
    alike = a.dtype == b.dtype and a.shape == b.shape
    return alike and torch.equal(bit_patterns(a), bit_patterns(b))


def same_model(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    buffers = dict(b.named_buffers())
    return (
        list(first) == list(second)
        and all(same_bits(t, second[n]) for n, t in first.items())
        and all(same_bits(t, buffers[n]) for n, t in a.named_buffers())
        and [type(m) for m in a.modules()] == [type(m) for m in b.modules()]
    )


def only(tensor: torch.Tensor) -> nn.Module:
    """A module that holds one tensor and nothing else."""
    module = nn.Module()
    module.register_buffer("held", tensor)
    return module


@st.composite
def tensors(draw) -> torch.Tensor:
    """Any bits in any shape, often with few values or many zeros, sometimes not contiguous."""
    dtype = draw(st.sampled_from(KINDS))
    shape = draw(st.lists(st.integers(0, 9), max_size=3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    width = torch.empty(0, dtype=dtype).element_size()
    numbers = random.bytes(math.prod(shape) * width)
    bits = torch.frombuffer(bytearray(numbers or b"\0" * 8), dtype=encodings.INTEGERS[width])
    bits = bits[: math.prod(shape)].clone()
    if draw(st.booleans()):
        bits[torch.from_numpy(random.random(len(bits)) < 0.8)] = 0
    if draw(st.booleans()) and width == 4:
        bits &= -0x10000  # what bfloat16 holds
    tensor = (bits % 2 if dtype == torch.bool else bits).view(dtype).reshape(shape)
    return tensor.transpose(0, -1) if tensor.ndim > 1 and draw(st.booleans()) else tensor


@given(tensors(), st.sampled_from(FORMATS))
def test_any_tensor_comes_back_bit_for_bit(tensor, format):
    how, parts = encode(tensor, format)
    assert sum(part.nbytes for part in parts.values()) <= tensor.nbytes
    if how != "plain":
        assert same_bits(decode(how, parts, tensor.dtype, list(tensor.shape)), tensor)


@given(tensors(), st.sampled_from(FORMATS), st.sampled_from([None, "zlib"]))
def test_any_tensor_comes_back_from_a_file(tmp_path_factory, tensor, format, compress):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    assert save(only(tensor), path, format=format, compress=compress) == path.stat().st_size
    again = load(path, model=only(torch.zeros(tensor.shape)))
    assert same_bits(again.held, tensor)


@pytest.mark.parametrize("format", FORMATS)
def test_signs_of_zeros_and_payloads_of_nans_stay(tmp_path, format):
    bits = torch.zeros(2000, dtype=torch.int32)
    bits[7], bits[70], bits[700] = -0x80000000, 0x7F800001, -0x3FFFFF  # -0.0 and two NaNs
    for held in (bits, bits & -0x10000):
        save(only(held.view(torch.float32)), tmp_path / "m", format=format, compress="zlib")
        again = load(tmp_path / "m", model=only(torch.zeros(2000))).held
        assert torch.equal(again.view(torch.int32), held)
        assert again[7] == 0
        assert again[7].signbit()


def stored_bytes(path) -> int:
    """Bytes of the tensors in a file, without its header."""
    return sum(tensor.nbytes for tensor in load_file(path).values())


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_a_bitmask_takes_a_bit_each_and_the_values_that_are_left(tmp_path, share, dtype):
    values = torch.randint(1, 100, (37, 53)).to(dtype)
    values.view(-1)[: round(share * values.numel())] = 0
    left = values.count_nonzero().item()
    formula = math.ceil(values.numel() / 8) + left * values.element_size()
    save(only(values), tmp_path / "m", format="sparse")
    assert stored_bytes(tmp_path / "m") == min(formula, values.nbytes)
    save(only(values), tmp_path / "m")
    assert stored_bytes(tmp_path / "m") == values.nbytes, "stored dense, zeros save nothing"


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 7, 8, 16, 33, 64, 128, 129, 256, 257])
def test_packed_takes_as_few_bits_as_the_distinct_values_need(tmp_path, levels):
    values = torch.randn(levels)[torch.arange(10_000) % levels]
    save(only(values), tmp_path / "m", format="packed")
    bits = max(1, math.ceil(math.log2(levels)))
    table = 4 * levels
    expected = 4 * 10_000 if levels > 256 else math.ceil(bits * 10_000 / 8) + table
    assert stored_bytes(tmp_path / "m") == expected


def test_packed_halves_floats_that_are_exactly_bf16(tmp_path):
    exact = torch.randn(5000).bfloat16().float()
    save(only(exact), tmp_path / "m", format="packed")
    assert stored_bytes(tmp_path / "m") == exact.nbytes // 2
    exact[4999] = 1 + 2**-20  # one that is not
    save(only(exact), tmp_path / "m", format="packed")
    assert stored_bytes(tmp_path / "m") == exact.nbytes


# entropy


@given(st.lists(st.integers(-3, 3), max_size=200))
def test_entropy_is_shannons(numbers):
    counts = Counter(numbers)
    expected = sum(c / len(numbers) * math.log2(len(numbers) / c) for c in counts.values())
    for dtype in (torch.int8, torch.int64, torch.float32, torch.bfloat16):
        assert entropy_bits(torch.tensor(numbers, dtype=dtype)) == pytest.approx(expected)


def test_entropy_of_known_sources():
    assert entropy_bits(torch.arange(16).repeat(50).view(40, 20)) == pytest.approx(4)
    assert entropy_bits(torch.ones(9)) == 0
    assert entropy_bits(torch.zeros(0)) == 0
    assert entropy_bits(torch.tensor([True, False])) == 1
    assert entropy_bits(torch.tensor([0.0, -0.0])) == 1, "values are told apart by their bits"
    with pytest.raises(TypeError, match=r"^tensor must be a torch\.Tensor, got list$"):
        entropy_bits([1, 2])


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_no_code_that_writes_value_for_value_beats_the_entropy(tmp_path, bits):
    """Independent draws have nothing but their distribution: zlib cannot do better either."""
    half = 2 ** (bits - 1)
    codes = (torch.randn(60_000) * half / 3).round().clamp(-half, half - 1).to(torch.int8)
    bound = entropy_bits(codes) * codes.numel() / 8
    for options in ({"format": "packed"}, {"compress": "zlib"}):
        save(only(codes), tmp_path / "m", **options)
        size = stored_bytes(tmp_path / "m")
        assert size < codes.nbytes or (bits == 8 and "format" in options)
        assert bound - 32 < size < 1.4 * bound
    alike = codes.sort().values  # the same distribution, in an order that tells
    save(only(alike), tmp_path / "m", compress="zlib")
    assert stored_bytes(tmp_path / "m") < 0.1 * bound


# whole models


@pytest.mark.parametrize("format", FORMATS)
def test_the_books_model_comes_back(tiny, tmp_path, format):
    model, path = tiny(rope_theta=123.0), tmp_path / "new" / "folder" / "m.safetensors"
    before = torch.get_rng_state()
    size = save(model, path, format=format)
    again = load(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert size == path.stat().st_size
    assert [p.name for p in path.parent.iterdir()] == ["m.safetensors"]
    assert again.config == model.config
    assert not again.training
    assert same_model(model, again)
    assert all(p.requires_grad and not p.is_meta for p in again.parameters())
    tokens = torch.randint(256, (2, 9))
    assert torch.equal(again(tokens), model(tokens))


def test_a_plain_file_holds_the_state_dict_as_any_reader_finds_it(tiny, tmp_path):
    model = tiny()
    save(model, tmp_path / "m")
    found = load_file(tmp_path / "m")
    assert set(found) == set(model.state_dict())
    assert all(same_bits(t, found[n]) for n, t in model.state_dict().items())


def test_a_model_of_another_precision_comes_back(tiny, tmp_path):
    model = tiny().bfloat16()  # with its table of angles, which no file holds
    save(model, tmp_path / "m", format="packed", compress="zlib")
    assert same_model(model, load(tmp_path / "m"))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_models_of_transformers_come_back(peers, bert, tmp_path, name, format):
    model, batch = bert if name == "bert" else (peers[name], None)
    batch = batch or {"input_ids": torch.randint(99, (2, 7))}
    save(model, tmp_path / "m", format=format, compress="zlib")
    again = load(tmp_path / "m")
    assert same_model(model, again)
    assert torch.equal(again(**batch).logits, model(**batch).logits)
    assert again.config.to_dict() == model.config.to_dict()


def test_tied_tensors_are_stored_once_and_tied_again(peers, bert, tmp_path):
    gpt2 = peers["gpt2"]
    save(gpt2, tmp_path / "m")
    assert stored_bytes(tmp_path / "m") == sum(p.nbytes for p in gpt2.parameters())
    again = load(tmp_path / "m")
    assert again.lm_head.weight is again.transformer.wte.weight
    save(bert[0], tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.cls.predictions.decoder.weight is again.bert.embeddings.word_embeddings.weight
    assert again.cls.predictions.decoder.bias is again.cls.predictions.bias


def test_the_chosen_attention_stays(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_embd=16, n_layer=1, n_head=2, vocab_size=9, n_positions=8, bos_token_id=0,
        eos_token_id=None, attn_implementation="eager",
    )  # fmt: skip
    save(transformers.GPT2LMHeadModel(config), tmp_path / "m")
    assert load(tmp_path / "m").config._attn_implementation == "eager"


def test_any_other_module_comes_back_into_one_like_it(mlp, tmp_path):
    model, other = mlp(16, 24, 4, seed=1), mlp(16, 24, 4, seed=2)
    kept = other[0].weight.clone()
    save(model, tmp_path / "m", format="packed")
    again = load(tmp_path / "m", model=other)
    assert same_model(model, again)
    assert torch.equal(other[0].weight, kept), "the caller's model is not changed"
    with pytest.raises(ValueError, match=r"^model is needed to load .*: it holds a Sequential,"):
        load(tmp_path / "m")
    for wrong in (mlp(16, 25, 4), mlp(16, 24), nn.Linear(2, 2)):
        with pytest.raises(ValueError, match="does not fit model") as raised:
            load(tmp_path / "m", model=wrong)
        assert "\n" not in str(raised.value)


def test_a_model_that_its_config_does_not_make_asks_for_one(tiny, tmp_path):
    model, like = tiny(), tiny(seed=1)
    for changed in (model, like):
        changed.lm_head = nn.Sequential(changed.lm_head)
    save(model, tmp_path / "m")
    with pytest.raises(ValueError, match="it holds a LanguageModel, which cannot be built"):
        load(tmp_path / "m")
    assert same_model(model, load(tmp_path / "m", model=like))


def test_parts_of_one_memory_are_stored_apart(tmp_path):
    whole = torch.arange(12.0)
    model = nn.Module()
    for name, part in {"a": whole, "b": whole[3:7], "c": whole.view(3, 4).t()}.items():
        model.register_buffer(name, part)
    model.d, model.e = (nn.Parameter(torch.zeros(0, 3)) for _ in "de")
    save(model, tmp_path / "m")
    again = load(tmp_path / "m", model=model)
    assert same_model(model, again)
    assert again.d is not again.e, "empty tensors share an address, and are not tied"


def test_what_was_loaded_does_not_change_with_the_file(tmp_path):
    save(only(torch.zeros(999)), tmp_path / "m")
    again = load(tmp_path / "m", model=only(torch.ones(999)))
    with open(tmp_path / "m", "r+b") as file:
        file.seek(-3996, 2)
        file.write(b"\1" * 3996)
    assert not again.held.any()


# quantized models

WAYS = {
    "2 bits": {"bits": 2},
    "3 bits": {"bits": 3, "granularity": "tensor"},
    "4 bits in groups": {"bits": 4, "granularity": "group", "group_size": 8},
    "8 bits": {"bits": 8},
    "asymmetric": {"bits": 4, "symmetric": False},
    "dynamic": {"activations": "dynamic", "symmetric": False},
    "static": {"activations": "static"},
    "smoothquant": {"activations": "dynamic", "method": "smoothquant"},
    "rounded weights": {"bits": 3, "simulate": True},
    "rounded inputs": {"activations": "static", "method": "smoothquant", "simulate": True},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["book", "llama", "gpt2", "bert", "mlp"])
def test_quantized_models_come_back(peers, bert, tiny, mlp, tmp_path, name, way):
    model = {"book": tiny, "bert": lambda: bert[0], "mlp": lambda: mlp(16, 24, 4)}
    model = model[name]() if name in model else peers[name]
    tokens = torch.randint(99, (2, 7))
    batch = {"bert": bert[1], "mlp": torch.randn(5, 16)}.get(name, tokens)
    changed = quantize(model, calibration=batch, **WAYS[way])
    options = {"model": model} if name == "mlp" else {}
    for format in ("safetensors", "packed"):
        save(changed, tmp_path / "m", format=format)
        again = load(tmp_path / "m", **options)
        assert same_model(changed, again)
        assert repr(changed) == repr(again)
        kwargs, args = (batch, ()) if isinstance(batch, dict) else ({}, (batch,))
        for a, b in zip(*(leaves(m(*args, **kwargs)) for m in (changed, again))):
            assert torch.equal(a, b)


def leaves(out) -> list[torch.Tensor]:
    return [out if isinstance(out, torch.Tensor) else out.logits]


def test_quantizing_the_tied_head_too_unties_it(peers, tmp_path):
    changed = quantize(peers["gpt2"], ignore=())
    save(changed, tmp_path / "m")
    assert same_model(changed, load(tmp_path / "m"))


def test_int4_in_groups_of_32_takes_a_seventh(tiny, tmp_path):
    model = tiny(width=128, head_dim=32, ffn=256)
    small = quantize(model, bits=4, granularity="group", group_size=32)
    save(small, tmp_path / "m", format="packed")
    layers = [n for n, m in small.named_modules() if hasattr(m, "float_weight")]
    assert len(layers) == 14
    with safe_open(tmp_path / "m", "pt") as file:
        stored = {name: file.get_tensor(name).nbytes for name in file.keys()}  # noqa: SIM118
    after = sum(size for name, size in stored.items() if name.rpartition(".")[0] in layers)
    before = sum(model.get_submodule(name).weight.nbytes for name in layers)
    assert 4 / 32 < after / before <= 0.15


def test_rounded_floats_pack_as_tightly_as_their_codes(tiny, tmp_path):
    """With one scale for a matrix, simulated weights lie on few levels: a table holds them."""
    rounded = quantize(tiny(), bits=4, granularity="tensor", simulate=True)
    whole = save(rounded, tmp_path / "m")
    packed = save(rounded, tmp_path / "m", format="packed")
    weights = sum(m.weight.numel() for m in rounded.model.layers.modules() if hasattr(m, "weight"))
    assert whole - packed > 0.8 * 3.5 * weights


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told by Linux")
def test_a_bill_tells_the_peak_memory_of_a_quantized_model(tiny, tmp_path):
    # deep enough that the floats of one layer at work, where no kernel takes integers, are little
    model = tiny(width=1024, ffn=2048, layers=8)
    small = quantize(model, activations="dynamic")
    path = memory.write_model(small, tmp_path)
    assert path.name == "costlab.compress.storage"
    load = {"batch": 1, "prompt": 4, "generate": 2, "kv_cache": True}
    peak = memory.peak_in_new_process(path, "float32", load)
    assert counting.bytes_in_memory(small) < peak < counting.bytes_in_memory(model)


def test_which_models_are_written_for_a_bill(tiny, mlp, peers, tmp_path):
    (tmp_path / "a").mkdir()
    assert memory.write_model(quantize(mlp(8, 8)), tmp_path / "a") is None
    assert memory.write_model(tiny(), tmp_path / "a").name == "model.safetensors"
    path = memory.write_model(quantize(peers["gpt2"]), tmp_path / "a")
    assert path.name == "costlab.compress.storage"
    shell = storage.shell(path)
    assert all(p.is_meta for p in shell.parameters())
    assert type(shell) is type(peers["gpt2"])


# bad input, bad files


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"format": "zip"}, ValueError, r"format must be one of \('safetensors', .*, got 'zip'"),
        ({"compress": "gzip"}, ValueError, "compress must be None, 'zlib' or 'zstd', got 'gzip'"),
        ({"model": {}}, TypeError, r"model must be a torch\.nn\.Module, got dict"),
        ({"model": nn.Linear(2, 2, device="meta")}, TypeError, "with values, got meta in 'weight'"),
        ({"model": only(torch.eye(3).to_sparse())}, TypeError, "got Tensor in 'held'"),
    ],
    ids=["format", "compress", "no model", "meta", "sparse"],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, options, error, sentence):
    with pytest.raises(error, match=sentence) as raised:
        save(**{"model": nn.Linear(2, 2), "path": tmp_path / "new" / "m"} | options)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_zstd_where_it_is_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ModuleNotFoundError, match=r"^compress='zstd' needs Python 3\.14 or"):
        save(only(torch.zeros(99)), tmp_path / "m", compress="zstd")
    assert not list(tmp_path.iterdir())
    stand_in = types.SimpleNamespace(compress=zlib.compress, decompress=zlib.decompress)
    monkeypatch.setitem(sys.modules, "zstandard", stand_in)
    save(only(torch.zeros(99)), tmp_path / "m", compress="zstd")
    assert not load(tmp_path / "m", model=only(torch.ones(99))).held.any()
    assert stored_bytes(tmp_path / "m") < 30


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path, monkeypatch):
    save(only(torch.ones(500)), tmp_path / "m")
    before = (tmp_path / "m").read_bytes()

    def full(tensors, path, metadata):
        path.write_bytes(before[:700])
        raise OSError("No space left on device")

    monkeypatch.setattr(pretrained, "save_file", full)
    for path in (tmp_path / "m", tmp_path / "new"):
        with pytest.raises(OSError, match=r"^could not write .*No space left on device$"):
            save(only(torch.zeros(500)), path)
    assert (tmp_path / "m").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def refused(path, words: str, error: type[Exception] = ValueError, **options) -> None:
    with pytest.raises(error, match=words) as raised:
        load(path, **options)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("options", [{"format": "packed"}, {"compress": "zlib"}], ids=str)
def test_files_cut_short_or_tampered_with(tiny, tmp_path, options):
    path = tmp_path / "m"
    size = save(quantize(tiny(layers=1)), path, **options)
    good = path.read_bytes()
    for keep in (0, 4, 100, size // 2, size - 1):
        path.write_bytes(good[:keep])
        refused(path, "is damaged or cut short")
    start = 8 + int.from_bytes(good[:8], "little")
    shape = good.index(b"rope_theta") + 14
    for at in (9, shape, start, (start + size) // 2, size - 1):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        refused(path, "is damaged")
    path.write_bytes(good)
    load(path)


def test_files_of_another_kind(tmp_path):
    path = tmp_path / "m"
    refused(path, r"^no weight file at ", FileNotFoundError)
    refused(WEIGHTS, r"was not written by costlab\.save$")
    path.write_text("PK\x03\x04 something else entirely" * 10)
    refused(path, "is damaged or cut short")
    for text in ("not json", "3", "{}", '{"model": 3}', '{"model": {}}'):
        write_whole({"weight": torch.ones(3)}, path, {"storage": text})
        refused(path, r"was not written by costlab\.save$")
    with pytest.raises(TypeError, match=r"^model must be a torch\.nn\.Module or None, got str$"):
        load(path, model="MLP")


def test_a_file_made_to_mislead(peers, tmp_path):
    """A digest keeps accidents out, not people: whatever a file says, no other code is run."""
    path = tmp_path / "m"
    save(quantize(peers["llama"]), path, format="packed", compress="zlib")
    tensors, metadata = read_whole(path)
    head = json.loads(metadata["storage"])

    def with_(**changes) -> None:
        write_whole(tensors, path, {"storage": json.dumps(head | changes)})

    layer = next(iter(head["layers"]))
    some, encoded = next(iter(head["streams"])), next(iter(head["encoded"]))
    with_()
    load(path)
    for name in ("os", "AutoModel", "logging", "NoSuchModel", "PreTrainedModel", "LlamaConfig"):
        with_(model=head["model"] | {"class": name})
        refused(path, "does not hold a whole model")
    for changes in (
        {"model": head["model"] | {"config": []}},
        {"layers": {layer: head["layers"][layer] | {"type": "Popen"}}},
        {"layers": {"no.such": head["layers"][layer]}},
        {"layers": {}},
        {"layers": 3},
        {"streams": head["streams"] | {some: ["system", [1]]}},
        {"streams": head["streams"] | {some: ["torch.float32", [1]]}},
        {"streams": {}},
        {"encoded": head["encoded"] | {encoded: ["eval", "torch.float32", [1]]}},
        {"encoded": {}},
        {"tied": {"lm_head.weight": "no.such"}},
        {"computed": {"no.such": "torch.float32"}},
    ):
        with_(**changes)
        refused(path, "does not hold a whole model")


def test_the_names_a_reader_types():
    assert costlab.save is save
    assert costlab.load is load
    assert blueprints.LAYERS.keys() == {"QuantizedLinear", "RoundedLinear", "AdaptedLinear"}


def test_a_quantized_encoder_of_torch_still_calls_its_layers_after_loading(tmp_path):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1).eval()
    quantized, x = costlab.quantize(encoder), torch.randn(2, 5, 16)
    save(quantized, tmp_path / "encoder")
    again = load(tmp_path / "encoder", model=nn.TransformerEncoder(layer, 1))
    with torch.no_grad():
        assert torch.equal(again(x), quantized(x))
