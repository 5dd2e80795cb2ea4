"""Recorded results say where they come from, and are written whole or not at all."""

import importlib.util
from datetime import date

import pytest

from costlab import notebook, results


def test_every_recorded_result_says_where_it_comes_from():
    assert "language_model" in results.names()
    for name in results.names():
        origin = results.read(name)["origin"]
        assert date(2026, 1, 1) <= date.fromisoformat(origin["recorded"]) <= date.today()
        assert origin["machine"]
        assert origin["versions"]["torch"]
        assert origin["seconds"] > 0
        assert (results.FOLDER.parent.parent / "experiments" / f"{name}.py").exists()


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(ValueError, match=r"name must be one of .*language_model.*, got 'gpt'"):
        results.read("gpt")


def test_a_result_round_trips(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    path = results.record("trial", {"bits": 1.5}, seconds=2.34)
    assert results.read("trial")["bits"] == 1.5
    assert results.read("trial")["origin"]["seconds"] == 2.3
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_machine_without_git_records_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    results.record("trial", {"bits": 1.5}, seconds=1)
    assert results.read("trial")["origin"]["commit"] is None


def test_a_failed_write_leaves_the_old_result(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    results.record("trial", {"bits": 1.5}, seconds=1)
    with pytest.raises(TypeError):
        results.record("trial", {"bits": object()}, seconds=1)
    assert results.read("trial")["bits"] == 1.5
    assert [p.name for p in tmp_path.iterdir()] == ["trial.json"]


def test_finished_runs_are_kept_for_their_setup_alone(tmp_path):
    path, setup = tmp_path / "new" / "runs.json", {"seeds": (0, 1)}
    assert results.kept(path, setup) == []
    done = [{"seed": 0, "bits": 1.5}]
    results.keep(path, setup, done)
    assert results.kept(path, setup) == done
    assert results.kept(path, {"seeds": (0, 2)}) == []
    assert results.missing([{"seed": 0}, {"seed": 1}], done) == [{"seed": 1}]
    assert [p.name for p in path.parent.iterdir()] == ["runs.json"]
    with pytest.raises(TypeError):
        results.keep(path, setup, [object()])
    assert results.kept(path, setup) == done


def test_the_model_is_better_than_its_rivals_and_than_an_untrained_one():
    found = results.read("language_model")
    bits = dict(found["bits_per_byte"])
    assert bits["the book's model"] < 1.5
    assert bits["the book's model"] < bits["best n-gram"] < bits["lzma alone"]
    assert found["parses"]["model before training"] < found["parses"]["model"]
    assert found["parses"]["model"] <= 1


def test_glue_marks_what_varies(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: shown.append(data))
    notebook.glue("bits", 1.25)
    notebook.glue("t_dollars", 0.1, "$0.10")
    prefix = "application/papermill.record/"
    assert shown == [
        {prefix + "text/plain": "1.25"},
        {prefix + "text/html": '<span class="measured">$0.10</span>'},
    ]
    with pytest.raises(ValueError, match="text must be given for 't_dollars'"):
        notebook.glue("t_dollars", 0.1)


def test_chapters_are_timed_only_where_they_passed(tmp_path):
    path = results.FOLDER.parent.parent / "experiments" / "chapters.py"
    spec = importlib.util.spec_from_file_location("chapters", path)
    chapters = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chapters)
    suite = '<testsuites><testsuite errors="0" failures="{}" time="34.567"/></testsuites>'
    for name, failures in (("01_good", 0), ("02_bad", 1)):
        (tmp_path / f"notebook-{name}.xml").write_text(suite.format(failures))
    assert chapters.seconds(tmp_path, ["01_good"]) == {"01_good": 34.6}
    with pytest.raises(ValueError, match="02_bad failed its check"):
        chapters.seconds(tmp_path, ["01_good", "02_bad"])
