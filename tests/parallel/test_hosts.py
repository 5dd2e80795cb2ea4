"""The trainer on two hosts: network namespaces of one machine, joined by one cable.

Needs Linux, iproute2 and the right to make network namespaces (root, or sudo without a password).
"""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress

import pytest
import torch
from test_train import apart
from train_work import from_shards

from costlab.lm.model import Config, LanguageModel
from costlab.lm.trainer import Recipe, train

SHAPE = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "ffn": 48}
PLAN = {"steps": 5, "batch_size": 4, "context": 24, "warmup": 2, "decay": 0, "precision": "fp32"}
ADDRESSES = ("10.13.7.1", "10.13.7.2")


def excuse():
    """Why this machine cannot run the test, or None."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    for tool in ("unshare", "nsenter", "ip"):
        if not shutil.which(tool):
            return f"the program {tool} is missing (util-linux, iproute2)"
    refused = subprocess.run([*root(), "unshare", "--net", "true"], capture_output=True, text=True,
                             check=False)  # fmt: skip
    return (
        f"no network namespace may be made here: {refused.stderr}" if refused.returncode else None
    )


def root():
    return [] if os.geteuid() == 0 else ["sudo", "-n"]


def inside(host):
    """The words before a command that run it on a host."""
    return [*root(), "nsenter", "--net", "--target", str(host)]


@contextmanager
def hosts():
    """Two hosts, each a process that holds a network namespace; they end with the block."""
    with ExitStack() as stack:
        pids = []
        for _ in ADDRESSES:
            sleeper = subprocess.Popen([*root(), "unshare", "--net", "sh", "-c",
                                        "echo $$; exec sleep 600"],
                                       stdout=subprocess.PIPE, text=True)  # fmt: skip
            stack.callback(end, sleeper)
            pids.append(int(sleeper.stdout.readline()))
        ends = [["name", "cable", "netns", str(pid)] for pid in pids]
        cable = ["ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1]]
        subprocess.run([*root(), *cable], check=True)
        for pid, address in zip(pids, ADDRESSES):
            for words in (
                f"addr add {address}/24 dev cable",
                "link set cable up",
                "link set lo up",
            ):
                subprocess.run([*inside(pid), "ip", *words.split()], check=True)
        yield pids


def end(process):
    process.stdout.close()
    with suppress(PermissionError):
        process.kill()
    process.wait()


def start(host, rank, out, log):
    """torchrun on a host, with one process there, as on any two machines."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node",
                "1", "--node-rank", str(rank), "--master-addr", ADDRESSES[0], "--master-port",
                "29511", "-m", "costlab.lm.trainer"]  # fmt: skip
    options = {**SHAPE, **PLAN, "model_context": 32, "parallel": "tensor", "out": out}
    words = [w for n, v in options.items() for w in ("--" + n.replace("_", "-"), str(v))]
    names = {"GLOO_SOCKET_IFNAME": "cable", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    given = [f"{name}={value}" for name, value in names.items()]
    return subprocess.Popen([*inside(host), "env", *given, *torchrun, *words], stdout=log,
                            stderr=log)  # fmt: skip


def test_two_hosts_end_where_one_process_does(tmp_path):
    reason = excuse()
    if reason and sys.platform == "linux" and os.environ.get("CI") == "true":
        pytest.fail(f"in CI this test must run, and {reason}")
    if reason:
        pytest.skip(reason)
    with hosts() as pids, open(tmp_path / "log", "w+") as log:
        runs = [start(pid, rank, tmp_path / "run", log) for rank, pid in enumerate(pids)]
        until = time.monotonic() + 240
        codes = [run.wait(max(1, until - time.monotonic())) for run in runs]
        shown = [*inside(pids[0]), "ip", "-j", "-s", "link", "show", "cable"]
        told = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
        log.seek(0)
        assert codes == [0, 0], log.read()[-3000:]
    torch.manual_seed(0)
    expected = train(LanguageModel(Config(**SHAPE, context=32)), Recipe(**PLAN)).state_dict()
    assert apart(from_shards(tmp_path / "run"), expected) < 1e-5
    assert (tmp_path / "run" / "weights.safetensors").exists()
    sums = 5 * 4 * SHAPE["layers"]  # five steps of four all-reduces for each block
    each = PLAN["batch_size"] * PLAN["context"] * SHAPE["width"] * 4
    sent = json.loads(told)[0]["stats64"]["tx"]["bytes"]
    assert sent > sums * each  # what a host of two sends for an all-reduce
