"""The techniques on models as people have them: built, saved, loaded by `from_pretrained`."""

import copy

import pytest
import torch

import costlab
from costlab.compress.quantized import QuantizedLinear
from costlab.modules import layers

transformers = pytest.importorskip("transformers")

DECODER = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 99, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
GPT2 = {
    "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 99, "n_positions": 64,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
# head -> config, and how many of its layers the techniques change
KINDS = {
    "LlamaForCausalLM": ("LlamaConfig", DECODER, 14),
    "MistralForCausalLM": ("MistralConfig", DECODER, 14),
    "Qwen3ForCausalLM": ("Qwen3Config", DECODER | {"head_dim": 8}, 14),
    "GPT2LMHeadModel": ("GPT2Config", GPT2, 8),
    "BertForMaskedLM": ("BertConfig", DECODER, 14),
    "BertForSequenceClassification": ("BertConfig", DECODER | {"num_labels": 3}, 14),
    "T5ForConditionalGeneration": (
        "T5Config",
        {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 99,
         "decoder_start_token_id": 0}, 32,
    ),
    "ViTForImageClassification": (
        "ViTConfig", DECODER | {"image_size": 16, "patch_size": 4, "num_labels": 5}, 13,
    ),
}  # fmt: skip
DECODERS = [kind for kind in KINDS if "LM" in kind and "Masked" not in kind]


@pytest.fixture(scope="module", params=KINDS)
def subject(request, tmp_path_factory):
    """A model that `from_pretrained` read from a folder, and a batch for it, as a dict."""
    config, options, count = KINDS[request.param]
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    kind = getattr(transformers, request.param)
    kind(getattr(transformers, config)(**options)).save_pretrained(folder)
    model = kind.from_pretrained(folder).eval()
    assert len(layers(model, ignore=("lm_head",))) == count
    return model, batch_for(model)


def batch_for(model):
    """Three texts, one of them with padding, or three pictures."""
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(3, 3, 16, 16)}
    tokens, mask = torch.randint(3, 99, (3, 10)), torch.ones(3, 10, dtype=torch.long)
    mask[1, 7:] = 0
    written = {"decoder_input_ids": tokens[:, :5]} if model.config.is_encoder_decoder else {}
    return {"input_ids": tokens, "attention_mask": mask} | written


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def off(model, exact, batch):
    """Relative change of the logits."""
    want = logits(exact, batch)
    return float((logits(model, batch) - want).norm() / want.norm())


def settings(model):
    """Whether each part of the model keeps keys and values."""
    return [getattr(getattr(m, "config", None), "use_cache", None) for m in model.modules()]


def unchanged(model, before):
    state = model.state_dict()
    return all(torch.equal(state[name], value) for name, value in before.items())


@pytest.mark.parametrize("method", ["rtn", "gptq", "smoothquant", "awq"])
@pytest.mark.parametrize("activations", [None, "dynamic", "static"])
def test_quantized(subject, method, activations):
    model, batch = subject
    before = copy.deepcopy(model.state_dict())
    new = costlab.quantize(model, method=method, activations=activations, calibration=batch)
    assert unchanged(model, before)
    assert type(new) is type(model)
    assert settings(new) == settings(model)
    found = {n for n, m in new.named_modules() if isinstance(m, QuantizedLinear)}
    assert found == layers(model, ignore=("lm_head",)).keys()
    assert 0 < off(new, model, batch) < 0.1


def test_clipped(subject):
    model, batch = subject
    before = copy.deepcopy(model.state_dict())
    new = costlab.clip_weights(model, threshold=0.01)
    assert unchanged(model, before)
    masks = costlab.masks(new)
    assert masks.keys() >= layers(model, ignore=("lm_head",)).keys()
    assert off(new, model, batch) > 0
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.add_(1)
    costlab.apply_masks_(new, masks)
    assert all(new.get_submodule(n).weight[~mask].eq(0).all() for n, mask in masks.items())


@pytest.mark.parametrize("format", ["safetensors", "packed", "sparse"])
@pytest.mark.parametrize(
    "options", [None, {"activations": "dynamic"}, {"bits": 4, "symmetric": False}], ids=str
)
def test_stored_and_built_again_from_the_file_alone(subject, tmp_path, format, options):
    model, batch = subject
    new = model if options is None else costlab.quantize(model, **options)
    costlab.save(new, tmp_path / "model", format=format)
    again = costlab.load(tmp_path / "model")
    assert type(again) is type(model)
    assert torch.equal(logits(again, batch), logits(new, batch))


def test_distilled(subject):
    model, batch = subject
    teacher = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in teacher.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)  # it is sure of itself
    before = copy.deepcopy(teacher.state_dict())
    new = costlab.distill(teacher, model, [batch], steps=20, lr=5e-3, alpha=1.0)
    assert unchanged(teacher, before)
    assert type(new) is type(model)
    wanted = logits(teacher, batch)
    losses = [costlab.distillation_loss(logits(m, batch), wanted) for m in (model, new)]
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.parametrize("subject", DECODERS, indirect=True)
def test_quantized_decoders_write(subject):
    new = costlab.quantize(subject[0], activations="dynamic")
    prompt = torch.randint(3, 99, (2, 5))
    cached = costlab.generate(new, prompt, tokens=6)
    assert torch.equal(cached, costlab.generate(new, prompt, tokens=6, kv_cache=False))
    by_transformers = new.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=6, do_sample=False,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    assert by_transformers[:, 5:].tolist() == cached.tolist()
