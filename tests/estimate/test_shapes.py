"""Parameter counts against the makers' numbers; operations and caches against published ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab import catalog
from costlab.estimate.shapes import Transformer, resolve_model

# Exact counts of the tensors in the published weight files.
EXACT = {
    "gpt2": 124_439_808,
    "gpt2-xl": 1_557_611_200,
    "gpt-neox-20b": 20_554_567_680,
    "bloom-176b": 176_247_271_424,
    "falcon-7b": 6_921_720_704,
    "llama-2-7b": 6_738_415_616,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "phi-3-mini": 3_821_079_552,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "olmo-2-7b": 7_298_617_344,
    "olmoe-1b-7b": 6_919_161_856,
    "deepseek-v2-lite": 15_706_484_224,
    "deepseek-v2": 235_741_434_880,
    "deepseek-v3": 671_026_419_200,
    "mixtral-8x7b": 46_702_792_704,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
}
# Rounded figures of papers and model cards, in billions: (total, active).
ROUNDED = {
    "gpt3-175b": (174.6, 174.6),
    "gpt3-6.7b": (6.7, 6.7),
    "gpt3-1.3b": (1.3, 1.3),
    "mt-nlg-530b": (530, 530),
    "megatron-1t": (1008, 1008),
    "mixtral-8x22b": (141, 39),
    "mixtral-8x7b": (46.7, 12.9),
    "deepseek-v3": (671, 37),
    "deepseek-v2": (236, 21),
    "kimi-k2": (1026, 32),
    "qwen3-235b-a22b": (235, 22),
    "qwen3-30b-a3b": (30.5, 3.3),
    "olmoe-1b-7b": (6.9, 1.3),
    "llama-4-maverick": (400, 17),
    "llama-4-scout": (109, 17),
    "gpt-oss-120b": (116.8, 5.7),
}


@pytest.mark.parametrize("name", EXACT)
def test_parameters_are_those_of_the_weight_files(name):
    assert resolve_model(name).params == EXACT[name]


@pytest.mark.parametrize("name", ROUNDED)
def test_parameters_round_to_what_the_makers_say(name):
    model = resolve_model(name)
    for ours, theirs in zip((model.params, model.active_params), ROUNDED[name], strict=True):
        assert ours / 1e9 == pytest.approx(theirs, rel=0.03)


@pytest.mark.parametrize("row", catalog.models(), ids=lambda row: row.id)
def test_every_row_of_the_catalog_counts_to_its_own_figures(row):
    model = resolve_model(row.id)
    assert (model.params, model.active_params) == (row.params, row.active_params)
    assert model.matrix_params <= model.active_params


@pytest.mark.parametrize("row", catalog.serving_results("kv cache"), ids=lambda row: row.model)
def test_cache_bytes_are_the_published_ones(row):
    assert resolve_model(row.model).kv_bytes_per_token(16) == row.value


def test_cache_of_latent_attention_and_of_windows():
    assert resolve_model("deepseek-v3").kv_bytes_per_token(16) == 70_272
    gemma = resolve_model("gemma-2-9b")
    assert gemma.kv_bytes(4096) == 4096 * gemma.kv_bytes_per_token()
    assert gemma.kv_bytes(8192) == 0.75 * 8192 * gemma.kv_bytes_per_token()


# arXiv:2205.05198 Table 5: model operations of an iteration are 72BLsh^2(1 + s/6h + v/12hL).
@pytest.mark.parametrize(("layers", "hidden", "heads"), [(48, 6144, 64), (96, 12288, 96)])
def test_operations_are_those_of_the_megatron_papers(layers, hidden, heads):
    s, v = 2048, 51200
    model = Transformer(
        layers=layers, hidden=hidden, heads=heads, ffn=4 * hidden, vocab=v, gated=False, tied=True
    )
    theirs = 72 * layers * s * hidden**2 * (1 + s / (6 * hidden) + v / (12 * hidden * layers))
    assert 3 * s * model.forward_flops(s) == pytest.approx(theirs, rel=1e-6)


def test_a_config_and_its_row_are_the_same_model(tmp_path):
    config = {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": False,
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    for given_as in (config, path, str(path), tmp_path, str(tmp_path)):
        assert resolve_model(given_as).params == resolve_model("llama-3.1-8b").params
    assert resolve_model("meta-llama/Llama-3.1-8B") == resolve_model("llama-3.1-8b")


CONFIGS = {
    "deepseek-v3": {
        "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432,
        "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_attention_heads": 128,
        "num_key_value_heads": 128, "vocab_size": 129280, "n_routed_experts": 256,
        "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
        "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
        "v_head_dim": 128, "tie_word_embeddings": False,
    },
    "qwen3-30b-a3b": {
        "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "head_dim": 128,
        "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_attention_heads": 32,
        "num_key_value_heads": 4, "vocab_size": 151936, "num_experts": 128,
        "num_experts_per_tok": 8, "decoder_sparse_step": 1, "tie_word_embeddings": False,
    },
    "gpt2": {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024,
             "vocab_size": 50257},
    "gemma-2-9b": {
        "model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336, "head_dim": 256,
        "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8,
        "vocab_size": 256000, "sliding_window": 4096,
    },
    "mixtral-8x7b": {
        "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2,
    },
    "gpt-oss-20b": {
        "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "head_dim": 64,
        "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8,
        "vocab_size": 201088, "num_local_experts": 32, "num_experts_per_tok": 4,
        "attention_bias": True, "sliding_window": 128,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_of_other_families_count_right(name):
    mine, theirs = resolve_model(CONFIGS[name]), resolve_model(name)
    assert (mine.params, mine.active_params) == (theirs.params, theirs.active_params)
    assert mine.kv_bytes(10_000) == theirs.kv_bytes(10_000)


def test_the_books_own_model_is_accepted():
    torch = pytest.importorskip("torch")
    from costlab.lm.model import Config, LanguageModel

    model = LanguageModel(Config(layers=2, width=64, heads=2, kv_heads=1, head_dim=32, ffn=96))
    count = sum(p.numel() for p in model.parameters())
    assert resolve_model(model).params == count
    assert torch is not None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layers": 0}, "layers must be a whole number from 1"),
        ({"ffn": None}, "ffn must be a whole number, got None"),
        ({"hidden": -8}, "hidden must be a whole number"),
        ({"heads": 2.5}, "heads must be a whole number"),
        ({"heads": 3}, "hidden must be a multiple of heads"),
        ({"kv_heads": 3}, "heads must be a multiple of kv_heads"),
        ({"experts": 4, "experts_active": 8}, "experts_active must be at most experts"),
        ({"vocab": True}, "vocab must be a whole number"),
        ({"norm": "batch"}, "norm must be one of rms, layer"),
    ],
)
def test_absurd_shapes_are_refused(wrong, message):
    shape = {"layers": 2, "hidden": 64, "heads": 4, "ffn": 128, "vocab": 100} | wrong
    with pytest.raises(ValueError, match=message):
        Transformer(**shape)


def test_malformed_configs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="none of num_hidden_layers"):
        resolve_model({"hidden_size": 8})
    with pytest.raises(ValueError, match="does not describe a transformer: heads must be"):
        resolve_model(CONFIGS["gpt2"] | {"n_head": "twelve"})
    with pytest.raises(ValueError, match="does not describe a transformer: hidden must be"):
        resolve_model(CONFIGS["gpt2"] | {"n_embd": {}})
    with pytest.raises(ValueError, match="unknown model 'xxx"):
        resolve_model("x" * 5000)
    with pytest.raises(ValueError, match="cannot be read"):
        resolve_model(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not a JSON file"):
        resolve_model(tmp_path)
    with pytest.raises(ValueError, match="did you mean"):
        resolve_model("llama-3.1-7b")
    with pytest.raises(TypeError, match="model must be a catalog id"):
        resolve_model(42)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4), st.booleans(), st.booleans())
def test_more_of_anything_is_more_parameters(layers, heads, experts, gated, tied):
    def count(**more: int) -> int:
        shape = {"layers": layers, "hidden": 16 * heads, "heads": heads, "ffn": 64, "vocab": 50}
        shape |= {"experts": experts, "gated": gated, "tied": tied}
        return Transformer(**(shape | more)).params

    assert count(layers=layers + 1) > count()
    assert count(ffn=65) > count()
    assert count(vocab=51) > count()
    assert count(experts=experts + 1) > count()
