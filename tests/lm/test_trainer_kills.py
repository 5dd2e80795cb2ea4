"""A training run that is killed, again and again, ends with the weights of one that was not."""

import random
import signal
import subprocess
import sys
import time

import pytest

from costlab.lm.pretrained import read_whole

SHAPE = "--width 32 --layers 2 --heads 2 --kv-heads 1 --head-dim 16 --ffn 48 --model-context 64"
PLAN = "--steps 120 --batch-size 2 --context 64 --decay 60 --warmup 5 --checkpoint-every 7"
COMMAND = [sys.executable, "-m", "costlab.lm.trainer", *SHAPE.split(), *PLAN.split()]


def start(out, log) -> subprocess.Popen:
    options = ["--device", "cpu", "--threads", "1", "--out", str(out)]
    return subprocess.Popen([*COMMAND, *options], stdout=log, stderr=log)


@pytest.mark.soak
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL, which this system lacks")
def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(tmp_path):
    with open(tmp_path / "log", "w") as log:
        assert start(tmp_path / "whole", log).wait(timeout=900) == 0
        dice, kills = random.Random(0), 0
        checkpoint = tmp_path / "broken" / "checkpoint.safetensors"
        while kills < 8:
            run, before = start(tmp_path / "broken", log), checkpoint.exists()
            began = time.monotonic()
            # past the first checkpoint of this start, then at any moment, perhaps while writing
            stamp = checkpoint.stat().st_mtime_ns if before else 0
            while run.poll() is None and time.monotonic() - began < 300:
                if checkpoint.exists() and checkpoint.stat().st_mtime_ns != stamp:
                    break
                time.sleep(0.01)
            time.sleep(dice.random() * 0.5)
            run.kill()
            killed = run.wait(timeout=60) == -signal.SIGKILL
            read_whole(checkpoint)  # whole, whenever it was
            kills += 1
            if not killed:
                break  # it had reached the end
        assert kills >= 2, "the run was over before it could be killed twice"
        assert start(tmp_path / "broken", log).wait(timeout=900) == 0
    files = [tmp_path / name / "weights.safetensors" for name in ("whole", "broken")]
    (ours, metadata), (theirs, other) = map(read_whole, files)
    assert metadata == other
    assert all(ours[name].equal(theirs[name]) for name in ours)
    assert not list((tmp_path / "broken").glob("*.part"))
