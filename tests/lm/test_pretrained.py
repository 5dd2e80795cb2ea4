"""Weight files: whole or not at all, and one clear sentence for every damaged one."""

import pickle
import re

import pytest
import torch
from safetensors.torch import save_file

from costlab.lm import pretrained
from costlab.lm.corpus import validation_batches
from costlab.lm.pretrained import WEIGHTS, export, load_model, save_model
from costlab.lm.trainer import bits_per_byte


def test_round_trip_is_exact(tiny, tmp_path):
    model, path = tiny(rope_theta=123.0), tmp_path / "new" / "model.safetensors"
    size = save_model(model, path, dtype=None)
    assert size == path.stat().st_size
    again = load_model(path)
    assert again.config == model.config
    assert not again.training
    state = model.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in again.state_dict().items())
    tokens = torch.randint(256, (1, 9))
    assert torch.equal(again(tokens), model(tokens))
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


def test_bf16_halves_the_file_and_rounds_the_weights(tiny, tmp_path):
    model = tiny()
    whole = save_model(model, tmp_path / "fp32", dtype=None)
    half = save_model(model, tmp_path / "bf16")
    parameters = sum(p.numel() for p in model.parameters())
    assert whole - half == pytest.approx(2 * parameters, abs=64)
    for name, tensor in load_model(tmp_path / "bf16").state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, model.state_dict()[name].bfloat16().float())
    loaded = load_model(tmp_path / "bf16", dtype=torch.bfloat16)
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}  # the input is unchanged


def test_saving_again_replaces_the_file(tiny, tmp_path):
    save_model(tiny(), tmp_path / "m", dtype=None)
    other = tiny()
    torch.nn.init.ones_(other.lm_head.weight)
    save_model(other, tmp_path / "m", dtype=None)
    assert torch.equal(load_model(tmp_path / "m").lm_head.weight, other.lm_head.weight)


def refused(path, words: str, error: type[Exception] = ValueError) -> None:
    with pytest.raises(error, match=words) as raised:
        load_model(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 0.5, -1], ids=str)
def test_a_file_cut_short(tiny, tmp_path, keep):
    path = tmp_path / "m"
    size = save_model(tiny(), path)
    path.write_bytes(path.read_bytes()[: int(keep * size) if isinstance(keep, float) else keep])
    refused(path, "is damaged or cut short")


def test_one_flipped_bit_anywhere(tiny, tmp_path):
    path = tmp_path / "m"
    size = save_model(tiny(layers=1), path)
    good = path.read_bytes()
    start = 8 + int.from_bytes(good[:8], "little")
    shape = good.index(b"rope_theta") + 14  # a digit of the shape, which is no weight
    for at in (0, 7, 9, shape, start, (start + size) // 2, size - 1):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        refused(path, r"is damaged|does not hold a model")
    path.write_bytes(good)
    load_model(path)


def test_files_of_another_kind(tiny, tmp_path):
    path = tmp_path / "m"
    refused(path, r"^no weight file at ", FileNotFoundError)
    refused(tmp_path, r"^no weight file at ", FileNotFoundError)
    path.write_text("PK\x03\x04 something else entirely" * 10)
    refused(path, "is damaged or cut short")
    save_file({"weight": torch.ones(3)}, path)
    refused(path, r"does not hold a model of this book \(no config in it\)$")
    save_file({"weight": torch.ones(3)}, path, metadata={"config": '{"size": 3}'})
    refused(path, r"does not hold a model of this book \(.*'size'\)$")
    save_file({"weight": torch.ones(3)}, path, metadata={"config": "not json"})
    refused(path, "does not hold a model of this book")
    save_file({"weight": torch.ones(3)}, path, metadata={"config": '{"width": 32}'})
    refused(path, "does not hold a model of this book")
    save_file({"weight": torch.ones(3)}, path, metadata={"config": '{"width": -1}'})
    refused(path, "width must be positive")


def test_a_file_with_other_shapes(tiny, tmp_path):
    state = tiny().state_dict() | {"lm_head.weight": torch.ones(2, 2)}
    config = '{"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "ffn": 48}'
    save_file(state, tmp_path / "m", metadata={"config": config})
    refused(tmp_path / "m", "lm_head")


class Trap:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_unpickles(tmp_path):
    sprung = tmp_path / "sprung"
    with open(tmp_path / "m", "wb") as file:
        pickle.dump(Trap(sprung), file)
    refused(tmp_path / "m", "is damaged")
    torch.save(Trap(sprung), tmp_path / "m")
    refused(tmp_path / "m", "is damaged")
    assert not sprung.exists()


def test_a_disk_that_is_full(tiny, tmp_path, monkeypatch):
    path = tmp_path / "m"
    save_model(tiny(), path)
    before = path.read_bytes()

    def full(tensors, part, metadata):
        part.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pretrained, "save_file", full)
    for write in (lambda: save_model(tiny(), path), lambda: export(tiny(), tmp_path / "folder")):
        with pytest.raises(OSError, match=r"^could not write .*: .*No space left on device$"):
            write()
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["m"]


def test_an_export_cut_off_behind_the_weights_leaves_no_half_config(tiny, tmp_path, monkeypatch):
    export(tiny(), tmp_path)
    before = (tmp_path / "config.json").read_text()

    def full(source, target):
        if target.name == "config.json":
            raise OSError(28, "No space left on device")
        source.rename(target)

    monkeypatch.setattr(pretrained.os, "replace", full)
    with pytest.raises(OSError, match=r"^could not write .*config.json: "):
        export(tiny(ffn=64), tmp_path)
    assert (tmp_path / "config.json").read_text() == before
    assert not list(tmp_path.glob("*.part"))


def test_a_place_where_nothing_can_be_written(tiny, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "m", tmp_path):  # below a file, and a folder itself
        with pytest.raises(OSError, match=f"^could not write {re.escape(str(path))}: "):
            save_model(tiny(), path)
    assert [p.name for p in tmp_path.parent.glob("*.part")] == []


def test_only_the_books_model_is_saved(tmp_path):
    with pytest.raises(TypeError, match=r"^model must be the book's LanguageModel, got Linear$"):
        save_model(torch.nn.Linear(2, 2), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_the_trained_model_is_small_and_good(trained):
    assert WEIGHTS.stat().st_size < 20e6
    assert bits_per_byte(trained, validation_batches(limit=8192)) < 1.6
    assert {p.dtype for p in trained.parameters()} == {torch.float32}
