"""From what readers have to a `Transformer`: a catalog id, a config.json, the book's own model."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from costlab import catalog
from costlab.catalog.records import ModelShape
from costlab.estimate.checks import whole
from costlab.estimate.transformer import Transformer

__all__ = ["Transformer", "from_config", "resolve_model"]

# Names under which the families of models keep the same quantity in config.json.
_KEYS = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "head_dim": ("head_dim",),
    "ffn": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "vocab": ("vocab_size", "padded_vocab_size"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "experts_active": ("num_experts_per_tok", "experts_per_token"),
    "expert_ffn": ("moe_intermediate_size",),
    "shared_experts": ("n_shared_experts",),
    "shared_ffn": ("shared_expert_intermediate_size",),
    "dense_layers": ("first_k_dense_replace",),
    "moe_every": ("interleave_moe_layer_step", "decoder_sparse_step"),
    "context": ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len"),
    "q_rank": ("q_lora_rank",),
    "kv_rank": ("kv_lora_rank",),
    "rope_dim": ("qk_rope_head_dim",),
    "value_dim": ("v_head_dim",),
    "window": ("sliding_window",),
}
# What config.json does not say because the family's code says it.
_OLD = {"gated": False, "biases": "all", "norm": "layer"}
_FAMILIES = {
    "gpt2": {**_OLD, "tied": True},
    "gpt_bigcode": {**_OLD, "tied": True},
    "opt": {**_OLD, "tied": True},
    "bloom": {**_OLD, "tied": True, "embedding_norm": True},
    "gpt_neox": _OLD,
    "gptj": {"gated": False, "norm": "layer", "norms": 1},
    "phi": {**_OLD, "norms": 1},
    "starcoder2": {**_OLD, "tied": True},
    "falcon": {"gated": False, "norm": "layer", "tied": True},
    "mpt": {"gated": False, "tied": True},
    "gemma": {"tied": True},
    "gemma2": {"tied": True, "norms": 4},
    "gemma3_text": {"tied": True, "norms": 4, "qk_norm": "head"},
    "qwen2": {"biases": "qkv"},
    "qwen2_moe": {"biases": "qkv", "shared_gate": True},
    "qwen3": {"qk_norm": "head"},
    "qwen3_moe": {"qk_norm": "head"},
    "olmo2": {"qk_norm": "full"},
    "olmoe": {"qk_norm": "full"},
    "deepseek_v3": {"router_bias": True},
    "gpt_oss": {"biases": "all", "router_bias": True, "sinks": True},
}
_ALTERNATE = {"gemma2": 2, "gpt_oss": 2, "gemma3_text": 6}  # one layer in so many is global
LONG = 250  # letters that no name of a file has
_ALL_LAYERS = ("mistral", "mixtral", "phi3", "starcoder2")


def resolve_model(model: object) -> Transformer:
    """The `Transformer` that `model` names or is.

    Args:
        model: an id of the catalog ('llama-3.1-8b'), a Transformer, a Hugging Face config.json (its
            path, its folder, or its content as a dict), a model with such a config, or the book's.

    Raises:
        ValueError: the id is unknown (the nearest are offered), or the config lacks something.
        TypeError: `model` is none of these.

    Taught in: notebooks/02_compute.ipynb.
    """
    if isinstance(model, Transformer):
        return model
    if isinstance(model, str | Path):
        return _from_text(model)
    if isinstance(model, Mapping):
        return from_config(model)
    for source in (model, getattr(model, "config", None)):
        for method in ("to_transformers", "to_dict"):
            if callable(getattr(source, method, None)) and not isinstance(source, type):
                return from_config(getattr(source, method)(), name=type(model).__name__)
    raise TypeError(
        "model must be a catalog id, a Transformer, a config.json (path or dict) or a model with a "
        f"config, got {type(model).__name__}."
    )


def _from_text(text: str | Path) -> Transformer:
    path = Path(text)
    if isinstance(text, Path) or len(text) < LONG:
        path = path / "config.json" if path.is_dir() else path
        if isinstance(text, Path) or path.suffix == ".json" or path.is_file():
            return _from_file(path)
    known = {row.id for row in catalog.models()}
    short = text.strip().lower().rsplit("/", 1)[-1]  # meta-llama/Llama-3.1-8B is llama-3.1-8b
    return _from_catalog(short if short in known else text)


def _from_file(path: Path) -> Transformer:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"model: {path} cannot be read ({error.strerror}).") from None
    except ValueError:
        raise ValueError(f"model: {path} is not a JSON file.") from None
    return from_config(config, name=path.parent.name or path.stem)


@cache
def _from_catalog(id: str) -> Transformer:
    return from_row(catalog.model(id))


def from_row(row: ModelShape) -> Transformer:
    """The shape in one row of the catalog, whose `experts` count the shared ones too."""
    dense = row.experts == 1
    return Transformer(
        name=row.id,
        layers=row.layers,
        hidden=row.hidden,
        heads=row.heads,
        kv_heads=row.kv_heads,
        head_dim=row.head_dim,
        ffn=row.dense_ffn or row.ffn,
        vocab=row.vocab,
        context=row.context,
        tied=row.tied_embeddings,
        gated=row.gated,
        biases=row.biases,
        norm=row.norm,
        norms=row.norms or 2,
        qk_norm=row.qk_norm,
        embedding_norm=row.embedding_norm,
        positions=row.positions or 0,
        experts=1 if dense else row.experts - (row.shared_experts or 0),
        experts_active=1 if dense else row.experts_per_token - (row.shared_experts or 0),
        expert_ffn=None if dense else row.ffn,
        shared_experts=row.shared_experts or 0,
        router_bias=row.router_bias,
        dense_layers=row.dense_layers or 0,
        moe_every=row.moe_every or 1,
        q_rank=row.q_rank or 0,
        kv_rank=row.kv_rank or 0,
        rope_dim=row.rope_dim or 0,
        value_dim=row.value_dim,
        window=row.window or 0,
        window_layers=row.window_layers or (row.layers if row.window else 0),
        sinks=row.sinks,
    )


def from_config(config: Mapping, *, name: str | None = None) -> Transformer:
    """The shape that a Hugging Face config.json describes.

    Args:
        config: its content.
        name: what messages call the model [its `_name_or_path`, or its `model_type`].

    Raises:
        ValueError: it lacks a width or a count, or one of them is not a number; the key is named.

    Taught in: notebooks/02_compute.ipynb.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"model: a config must be a JSON object, got {type(config).__name__}.")
    inner = config.get("text_config")
    config = {**config, **inner} if isinstance(inner, Mapping) else dict(config)
    family = str(config.get("model_type", ""))
    found = {field: _first(config, keys) for field, keys in _KEYS.items()}
    found = {field: value for field, value in found.items() if value is not None}
    for field in ("layers", "hidden", "heads", "vocab"):
        if field not in found:
            raise ValueError(f"model: the config has none of {', '.join(_KEYS[field])}.")
    label = name or config.get("_name_or_path") or family or "config.json"
    try:
        _family_rules(family, config, found)
        found.setdefault("ffn", 4 * whole("hidden", found["hidden"]))
        return Transformer(**{**_FAMILIES.get(family, {}), **found}, name=str(label))
    except (TypeError, ValueError) as error:
        raise ValueError(f"model: the config does not describe a transformer: {error}") from None


def _first(config: Mapping, keys: tuple[str, ...]) -> object:
    return next((config[key] for key in keys if config.get(key) is not None), None)


def _family_rules(family: str, config: Mapping, found: dict) -> None:
    """Complete `found` by what depends on the family or on switches in the config."""
    if isinstance(config.get("tie_word_embeddings"), bool):
        found["tied"] = config["tie_word_embeddings"]
    if config.get("attention_bias") is True and family != "gpt_oss":
        found["biases"] = "attention"
    if config.get("kv_lora_rank") and config.get("qk_nope_head_dim"):
        found["head_dim"] = config["qk_nope_head_dim"]
    if family in ("gpt2", "gpt_bigcode", "opt"):
        found["positions"] = found.get("context", 0) + (2 if family == "opt" else 0)
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        found |= {"kv_heads": 1, "norms": 1}
    if family == "mpt":
        found["kv_heads"] = (config.get("attn_config") or {}).get("kv_n_heads", found["heads"])
    if family == "llama4_text":
        found |= {"expert_ffn": found["ffn"], "ffn": config.get("intermediate_size_mlp")}
        found["shared_experts"] = 1
    if not found.get("experts") or found["experts"] == 1:
        for field in ("expert_ffn", "moe_every", "dense_layers", "experts_active"):
            found.pop(field, None)
    _window_rules(family, config, found)


def _window_rules(family: str, config: Mapping, found: dict) -> None:
    if family in _ALTERNATE and found.get("window"):
        found["window_layers"] = found["layers"] - found["layers"] // _ALTERNATE[family]
    elif family not in _ALL_LAYERS or config.get("use_sliding_window") is False:
        found.pop("window", None)
