"""launch/sweep.sh: shards to pods that are kept alive, or to a job array; what it refuses."""

import json

import pytest
from cloud import POD, ROOT, Cloud

SWEEP = ("--sweep=configs/sweeps/kl.py", "--workdir=/shared/kl")


def test_a_job_array_of_shards(tmp_path):
  cloud = Cloud(tmp_path)
  cloud.run("launch/sweep.sh", "slurm", "8", *SWEEP, SBATCH="--nodes=1 --gpus-per-node=8")
  assert cloud.calls() == [
    ["sbatch", "--nodes=1", "--gpus-per-node=8", "--array=1-8", "launch/slurm.sbatch", *SWEEP, "--shard=array"]]


def test_each_shard_has_a_pod_of_its_own(tmp_path):
  cloud = Cloud(tmp_path)
  lines = cloud.run("launch/sweep.sh", "--dry-run", "tpu", "3", *SWEEP, LOGS="/logs", **POD).splitlines()
  line = "env NAME=grpo-{} launch/babysit.sh {} --shard={}/3{} > /logs/grpo-{}.log 2>&1 &"
  assert lines == [
    line.format(i, " ".join(SWEEP), i, "" if i == 1 else " --wait-for-stage", i) for i in (1, 2, 3)]
  assert not cloud.calls()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="push sends a git tree, and this is none")
def test_a_preempted_pod_of_a_sweep_is_recreated_and_its_shard_goes_on(tmp_path):
  cloud = Cloud(tmp_path, preempt_at=3)
  arguments = ["--sweep=x.py", f"--workdir={cloud.bucket}"]
  output = cloud.run("launch/sweep.sh", "tpu", "1", *arguments, POLL="0", LOGS=str(tmp_path), **POD)
  log = (tmp_path / "grpo-1.log").read_text()
  assert f"shard 1 of 1 on grpo-1, log {tmp_path}/grpo-1.log" in output
  assert "lost: SUSPENDED" in log and "the run is done" in log
  assert (cloud.bucket / "starts").read_text().startswith("resumed at 0\nresumed at ")
  assert any("--shard=1/1" in argument for call in cloud.calls() for argument in call)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="push sends a git tree, and this is none")
def test_a_shard_that_fails_is_named(tmp_path):
  cloud = Cloud(tmp_path)
  arguments = ["--sweep=x.py", "--config=bad", "--workdir=w"]
  output = cloud.run("launch/sweep.sh", "tpu", "1", *arguments, check=1, POLL="0", LOGS=str(tmp_path), **POD)
  assert output.endswith("sweep.sh: shard 1: babysit.sh: the run needs you: error: bad\n")


@pytest.mark.parametrize("arguments, words", [
  (("slurm", "0", *SWEEP), "N=0 must be a number of shards from 1 on"),
  (("slurm", "two", *SWEEP), "N=two must be"),
  (("slurm", "2", SWEEP[1]), "no --sweep=FILE"),
  (("tpu", "2", SWEEP[0]), "no --workdir=FOLDER"),
  (("tpu", "2", *SWEEP), "NAME: is not set"),
])
def test_what_it_refuses(arguments, words, tmp_path):
  cloud = Cloud(tmp_path)
  assert words in cloud.run("launch/sweep.sh", *arguments, check=1) and not cloud.calls()
  assert "launch/sweep.sh " in cloud.run("launch/sweep.sh", "elsewhere", "2", *SWEEP, check=2)


def test_a_host_runs_a_sweep_where_it_is_given_one(tmp_path):
  cloud = Cloud(tmp_path)
  line = cloud.run("launch/run.sh", "--dry-run", *SWEEP, "--shard=2/4", SETUP="0")
  assert line.split()[-5:] == ["-m", "grpo_jax.sweeps.run", *SWEEP, "--shard=2/4"]
  assert json.loads((tmp_path / "state.json").read_text())["request"] == "ABSENT"
