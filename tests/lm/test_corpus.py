"""The corpus: the same validation text everywhere, nothing of it in the training text."""

import hashlib
import shutil
from collections import Counter

import pytest
import torch

from costlab.lm import corpus

# Of the whole validation text: the book's figures of bits per byte are about these bytes.
DIGEST = "3bdac5f2d7d79345bda9d1f9763ed1d68c3a2c77dac18cbdd63e7b18cdcb4bff"


@pytest.fixture
def library(tmp_path):
    """A small library: the validation files, a file of its own, and nothing else."""
    root = corpus.library_root()
    for name in corpus.validation_files():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, tmp_path / name)
    (tmp_path / "abc.py").write_text("print('the author of this file is somebody else')\n")
    return tmp_path


def test_validation_text_is_the_fixed_one():
    text = corpus.validation_text()
    assert len(text) == 130_908
    assert hashlib.sha256(text).hexdigest() == DIGEST
    assert text.count(corpus.SEPARATOR) == len(corpus.validation_files()) - 1
    for name in corpus.validation_files():
        assert corpus.read(corpus.library_root() / name) in text


@pytest.mark.parametrize("context", [64, 512, 1000])
def test_each_byte_is_predicted_once(context):
    text, seen = corpus.validation_text(), bytearray(corpus.validation_text()[:1])
    for windows in corpus.validation_batches(context=context, batch=7):
        assert windows.shape[0] <= 7
        assert windows.shape[1] <= context
        for window in windows.tolist():
            assert window[0] == seen[-1]  # it begins at the last byte of the one before
            seen += bytes(window[1:])
    assert bytes(seen) == text


def test_windows_are_the_same_each_time_and_a_limit_takes_them_evenly():
    first, again = corpus.validation_batches(), corpus.validation_batches()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    whole = {bytes(w) for windows in first for w in windows.tolist()}
    few = [
        bytes(w) for windows in corpus.validation_batches(limit=10 * 512) for w in windows.tolist()
    ]
    assert len(few) == 10
    assert set(few) <= whole
    assert few[0] == corpus.validation_text()[:512]
    assert few[-1] in [bytes(w) for w in first[-2].tolist()]  # the last whole window
    with pytest.raises(ValueError, match=r"^context must be at least 2, got 1$"):
        corpus.validation_batches(context=1)


def test_training_text_leaves_validation_out(library):
    names = dict(corpus.training_files(library))
    assert set(names) == {"abc.py"}
    assert not set(dict(corpus.training_files())) & set(corpus.validation_files())


def test_a_near_duplicate_of_validation_text_is_left_out(library):
    held_out = (library / "pyclbr.py").read_text()
    own = "\n".join(
        f"line_{i} = 'a line that stands in no other file, number {i}'" for i in range(400)
    )
    (library / "copy_of_pyclbr.py").write_text("# a new header\n" + held_out)
    (library / "mostly_own.py").write_text(own + "\n" + "\n".join(held_out.splitlines()[:20]))
    assert set(dict(corpus.training_files(library))) == {"abc.py", "mostly_own.py"}


@pytest.mark.parametrize(
    "name",
    ["test/a.py", "pkg/tests/a.py", "site-packages/a.py", "encodings/a.py", "idlelib/a.py",
     "stringprep.py", "_sysconfigdata__linux.py", "config-3.11/a.py"],
)  # fmt: skip
def test_tests_tables_and_other_packages_are_left_out(library, name):
    (library / name).parent.mkdir(parents=True, exist_ok=True)
    (library / name).write_text("print('one')\n")
    (library / "pkg2").mkdir()
    (library / "pkg2/kept.py").write_text("print('two')\n")
    (library / "empty.py").write_text("")
    (library / "null.py").write_bytes(b"x = '\0'\n")
    assert set(dict(corpus.training_files(library))) == {"abc.py", "pkg2/kept.py"}


def test_windows_line_ends_change_nothing(library):
    before = corpus.validation_text(library)
    for name in corpus.validation_files():
        path = library / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    corpus.validation_text.cache_clear()
    assert corpus.validation_text(library) == before == corpus.validation_text()


def test_an_interpreter_without_sources_gets_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    corpus.validation_text.cache_clear()
    corpus.training_text.cache_clear()
    for reads in (corpus.validation_text, corpus.training_text, corpus.validation_batches):
        with pytest.raises(
            FileNotFoundError, match=r"^this Python has no library sources in "
        ) as e:
            reads()
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_changed_validation_file_is_named(library, how):
    path = library / "unittest/suite.py"
    if how == "changed":
        path.write_bytes(path.read_bytes() + b"#")
    else:
        path.unlink()
    with pytest.raises(ValueError, match=rf"^validation file unittest/suite.py .* is {how}: "):
        corpus.validation_text(library)


def test_batches_depend_on_seed_and_step_alone():
    text = corpus.as_tensor(bytes(range(256)) * 40)

    def windows(seed, step):
        return corpus.batch(text, batch=3, context=16, seed=seed, step=step)

    first = windows(0, 5)
    torch.manual_seed(99)
    torch.rand(7)
    assert torch.equal(windows(0, 5), first)
    assert first.shape == (3, 17)
    assert first.dtype == torch.int64
    assert all(((w[1:] - w[:-1]) % 256 == 1).all() for w in first)  # runs of the text, unbroken
    others = [windows(0, 6), windows(1, 5)]
    assert not any(torch.equal(first, other) for other in others)


def test_windows_come_from_the_whole_text():
    text = corpus.as_tensor(bytes(100))
    text[:50] = 1
    seen = Counter(
        int(corpus.batch(text, batch=1, context=4, seed=0, step=s)[0, 0]) for s in range(60)
    )
    assert min(seen[0], seen[1]) > 10


def test_a_text_shorter_than_a_window_is_refused():
    text = corpus.as_tensor(b"short")
    with pytest.raises(ValueError, match=r"^text must be longer than context \+ 1 \(17\), got 5$"):
        corpus.batch(text, batch=1, context=16, seed=0, step=0)


def test_the_training_text_of_this_interpreter_is_large():
    assert len(corpus.training_text()) > 5e6
