"""Launch scripts with the cloud of fake_cloud.py: what they call, and what they do when pod, run or user fail."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest
import yaml
from cloud import POD, ROOT, Cloud, alive, gone

SCRIPTS = sorted(p.relative_to(ROOT) for p in (ROOT / "launch").rglob("*") if p.suffix in (".sh", ".sbatch"))
SOURCED = ("common.sh", "tpu_health.sh")
SHELLCHECK = shutil.which("shellcheck") or shutil.which("shellcheck", path=pathlib.Path(sys.executable).parent)
QUEUED = ["gcloud", "compute", "tpus", "queued-resources"]
ZONE = "--zone=us-west4-a"
EVERYWHERE = ["--quiet", "--node=all", "--worker=all"]
GKE = {"NAME": "grpo", "IMAGE": "pkg.dev/p/r/grpo:1", "BUCKET": "my-bucket", "ACCELERATOR": "tpu-v5-lite-podslice"}


needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="push sends a git tree, and this is none")


@pytest.fixture
def cloud(tmp_path):
  return Cloud(tmp_path)


@pytest.mark.skipif(not SHELLCHECK, reason="shellcheck is not installed; the test extra brings it")
def test_shellcheck_has_nothing_to_say():
  done = subprocess.run([SHELLCHECK, "-x", *map(str, SCRIPTS)], cwd=ROOT, capture_output=True, text=True, timeout=60)
  assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_scripts_are_short_strict_and_explain_themselves(script, cloud):
  text = (ROOT / script).read_text()
  assert len(text.splitlines()) <= 80
  if script.name in SOURCED:
    return
  assert os.access(ROOT / script, os.X_OK) and "\nset -euo pipefail\n" in text
  usage = cloud.run(ROOT / script, "--help")
  assert "[--dry-run]" in usage or "--dry-run " in usage
  assert "Environment" in usage and "#" not in usage and "set -e" not in usage


@pytest.mark.parametrize("script", ["run.sh", "babysit.sh", "slurm.sbatch", "local_multiprocess.sh", "tpu_pod.sh"])
def test_no_arguments_is_a_question_about_usage(script, cloud):
  assert f"launch/{script} " in cloud.run(ROOT / "launch" / script, check=2)


def changes(calls: list[list[str]]) -> list[list[str]]:
  """The calls that change something: no describe, and no look at a log."""
  return [c for c in calls if c[4] != "describe" and not any("tail" in a for a in c)]


def start_calls(cloud) -> list[list[str]]:
  archive = str(cloud.folder / "grpo_jax-grpo.tar.gz")
  keep = "find grpo_jax -mindepth 1 -maxdepth 1 ! -name runs ! -name .cache -exec rm -rf {} +"
  settings = "GRPO_MULTIHOST=1 JAX_EXTRA=tpu VENV=$HOME/venv"
  return [
    [*QUEUED, "scp", archive, "grpo:grpo_jax.tar.gz", ZONE, *EVERYWHERE],
    [*QUEUED, "ssh", "grpo", ZONE, *EVERYWHERE,
     f"--command=mkdir -p grpo_jax && {keep} && tar -xzf grpo_jax.tar.gz"],
    [*QUEUED, "ssh", "grpo", ZONE, *EVERYWHERE,
     f"--command=cd grpo_jax && {settings} launch/run.sh --background --config=x.py --workdir={cloud.bucket}"],
  ]


CREATE = [*QUEUED, "create", "grpo", ZONE, "--accelerator-type=v5litepod-16",
          "--runtime-version=v2-alpha-tpuv5-lite", "--node-id=grpo", "--spot"]
DELETE = [*QUEUED, "delete", "grpo", ZONE, "--force", "--quiet"]


@needs_git
def test_a_preempted_pod_is_recreated_and_the_run_resumes_until_it_is_done(tmp_path):
  cloud = Cloud(tmp_path, preempt_at=3)
  arguments = ["--config=x.py", f"--workdir={cloud.bucket}"]
  cloud.run("launch/tpu_pod.sh", "create", **POD)
  for answer, status in (("waiting: PROVISIONING\n", 2), ("healthy\n", 0)):
    assert cloud.run("launch/tpu_pod.sh", "preempt-check", check=status, **POD) == answer
  cloud.run("launch/tpu_pod.sh", "push", **POD)
  cloud.run("launch/tpu_pod.sh", "run", *arguments, **POD)
  output = cloud.run("launch/babysit.sh", *arguments, POLL="0", **POD)
  assert "lost: SUSPENDED" in output and "the run is done" in output
  starts = (cloud.bucket / "starts").read_text().split("\n")
  assert starts[0] == "resumed at 0" and int(starts[1].split()[-1]) >= 3
  assert (cloud.bucket / "step").read_text() == "6\n"
  assert changes(cloud.calls()) == [CREATE, *start_calls(cloud), DELETE, CREATE, *start_calls(cloud)]
  cloud.run("launch/tpu_pod.sh", "stop", **POD)
  assert cloud.calls()[-1] == DELETE and not (tmp_path / "host").exists()
  assert "lost: ABSENT" in cloud.run("launch/tpu_pod.sh", "preempt-check", check=1, **POD)


@needs_git
def test_a_run_on_the_same_pod_takes_the_place_of_the_former_one(tmp_path):
  cloud = Cloud(tmp_path, request="PROVISIONING")
  log = tmp_path / "host" / "grpo_jax.log"
  pids = []
  cloud.run("launch/tpu_pod.sh", "preempt-check", **POD)
  cloud.run("launch/tpu_pod.sh", "push", **POD)
  (tmp_path / "host/grpo_jax/runs").mkdir()
  for n in range(2):
    cloud.run("launch/tpu_pod.sh", "run", "--config=slow", f"--workdir={cloud.bucket}", **POD)
    pids.append(int(pathlib.Path(f"{log}.pid").read_text()))
    assert alive(pids[n]), log.read_text()
  assert gone(pids[:1]) and "process: running" in cloud.run("launch/tpu_pod.sh", "status", **POD)
  cloud.run("launch/tpu_pod.sh", "push", **POD)
  assert (tmp_path / "host/grpo_jax/runs").is_dir()
  cloud.run("launch/tpu_pod.sh", "stop", **POD)
  assert gone(pids)


@needs_git
def test_babysit_gives_up_at_once_on_an_error_of_the_user(tmp_path):
  cloud = Cloud(tmp_path)
  output = cloud.run("launch/babysit.sh", "--config=bad", check=1, POLL="0", **POD)
  assert output.endswith("babysit.sh: the run needs you: error: bad\n")
  assert [c[4] for c in changes(cloud.calls())] == ["create", "scp", "ssh", "ssh"]


def test_babysit_gives_up_and_waits_longer_each_time(tmp_path):
  cloud = Cloud(tmp_path, becomes="FAILED")
  output = cloud.run("launch/babysit.sh", "--config=x", check=1, POLL="0", ATTEMPTS="3", **POD)
  assert output.endswith("babysit.sh: gave up after 3 attempts\n")
  assert [c[4] for c in changes(cloud.calls())] == ["create", *["delete", "create"] * 2, "delete"]
  script = (ROOT / "launch/babysit.sh").read_text()
  back_off = script[script.index("back_off() {"): script.index("recreate() {")]
  stubs = "say() { echo $1 | tr -dc 0-9; echo; }\nsleep() { :; }\ndelay=60 MAX_DELAY=300\n"
  output = cloud.run("bash", "-c", f"{stubs}{back_off}for i in 1 2 3 4 5; do back_off; done")
  assert output.split() == ["60", "120", "240", "300", "300"]


def test_a_network_that_fails_deletes_no_pod(tmp_path):
  cloud = Cloud(tmp_path, request="OFFLINE")
  command = ["launch/babysit.sh", "--config=x"]
  options = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
  process = subprocess.Popen(command, cwd=ROOT, env=cloud.environment(POLL="0", **POD), **options)
  lines = [process.stdout.readline() for _ in range(3)]
  os.killpg(process.pid, signal.SIGKILL)
  process.communicate(timeout=10)
  assert all(line.startswith("babysit: unknown: UNKNOWN ERROR: gcloud crashed") for line in lines)
  assert {c[4] for c in cloud.calls()} == {"describe"}


def test_what_is_missing_is_named(cloud):
  assert "ZONE: is not set" in cloud.run("launch/tpu_pod.sh", "status", check=1, NAME="grpo")
  environment = POD | {"ACCELERATOR": "tpu7x-8"}
  assert "RUNTIME: is needed" in cloud.run("launch/tpu_pod.sh", "create", check=1, **environment)
  assert "--workdir=… is needed" in cloud.run("launch/local_multiprocess.sh", "2", "1", "--config=x", check=1)
  assert "TOPOLOGY is not set" in cloud.run("launch/gke/render.sh", "--config=x", check=1, **GKE)
  output = cloud.run("launch/gke/render.sh", "--config=x", check=1, **GKE, TOPOLOGY="2x3")
  assert "has 6 chips, no multiple of CHIPS=4" in output
  assert not cloud.calls()


@pytest.mark.parametrize("accelerator, runtime", [
  ("v5p-32", "v2-alpha-tpuv5"), ("v6e-16", "v2-alpha-tpuv6e"), ("v4-32", "tpu-ubuntu2204-base")])
def test_runtime_version_of_an_accelerator(accelerator, runtime, cloud):
  cloud.run("launch/tpu_pod.sh", "create", **POD | {"ACCELERATOR": accelerator, "SPOT": "0", "SLICES": "2"})
  [call] = cloud.calls()
  assert call[7:] == [
    f"--accelerator-type={accelerator}", f"--runtime-version={runtime}", "--node-count=2", "--node-prefix=grpo"]


def test_the_trainer_gets_the_signal_and_its_status_comes_back(tmp_path, cloud):
  python = tmp_path / "venv/bin/python"
  python.parent.mkdir(parents=True)
  python.write_text("#!/bin/bash\ntrap 'echo saved; exit 7' TERM\necho \"$@\"\nfor i in {1..300}; do sleep 0.1; done\n")
  python.chmod(0o755)
  command = ["launch/run.sh", "--config=a b", "--workdir=w"]
  environment = cloud.environment(SETUP="0", VENV=str(tmp_path / "venv"))
  process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
  assert process.stdout.readline() == "-m grpo_jax.main --config=a b --workdir=w\n"
  process.send_signal(signal.SIGTERM)
  assert process.communicate(timeout=10)[0] == "saved\n" and process.returncode == 7


@pytest.mark.parametrize("status, restarts, requeued", [(143, "0", True), (143, "50", False), (1, "0", False)])
def test_slurm_requeues_what_sigterm_ended(tmp_path, status, restarts, requeued):
  cloud = Cloud(tmp_path, status=status)
  venv = tmp_path / "venv/bin"
  venv.mkdir(parents=True)
  (venv / "python").symlink_to("/bin/true")
  job = {"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": restarts, "SLURM_SUBMIT_DIR": str(ROOT), "VENV": str(venv.parent)}
  cloud.run("launch/slurm.sbatch", "--config=x", check=status, **job)
  srun = ["srun", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "launch/run.sh", "--config=x"]
  assert cloud.calls() == [srun] + [["scontrol", "requeue", "12"]] * requeued


def jobset_errors(manifest) -> list[str]:
  jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed; the test extra brings it")
  schema = json.loads((ROOT / "launch/gke/jobset.schema.json").read_text())
  jsonschema.Draft202012Validator.check_schema(schema)
  return [e.json_path for e in jsonschema.Draft202012Validator(schema).iter_errors(manifest)]


def test_the_manifest_that_reaches_kubectl_is_a_jobset(cloud, tmp_path):
  arguments = ["--config=configs/a.py", '--config.data.fields={"prompt": "q & a|\\"}', "--workdir=/mnt/bucket/runs/a"]
  environment = GKE | {"TOPOLOGY": "4x8", "SLICES": "2", "SPOT": "0"}
  cloud.run("launch/gke/submit.sh", *arguments, **environment)
  assert cloud.calls() == [["kubectl", "apply", "-f", str(tmp_path / "jobset-grpo.yaml")]]
  text = (tmp_path / "applied.yaml").read_text()
  manifest = yaml.safe_load(text)
  assert jobset_errors(manifest) == [] and "@" not in text.split("apiVersion", 1)[1]
  [replicated] = manifest["spec"]["replicatedJobs"]
  job = replicated["template"]["spec"]
  pod = job["template"]["spec"]
  [container] = pod["containers"]
  assert replicated["replicas"] == 2 and job["completions"] == job["parallelism"] == 8  # 32 chips, 4 on a host
  assert container["args"] == arguments and container["resources"]["limits"] == {"google.com/tpu": 4}
  assert pod["nodeSelector"] == {
    "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice", "cloud.google.com/gke-tpu-topology": "4x8"}
  assert pod["restartPolicy"] == "Never" and manifest["spec"]["failurePolicy"]["maxRestarts"] == 20


def test_the_schema_refuses_what_the_cluster_would(cloud):
  text = cloud.run("launch/gke/render.sh", "--config=x", **GKE, TOPOLOGY="4x4")
  for right, wrong, where in [
    ("maxRestarts: 20", "maxRestarts: many", "$.spec.failurePolicy.maxRestarts"),
    ("replicas: 1", "replica: 1", "$.spec.replicatedJobs[0]"),
    ('gke-spot: "true"', "gke-spot: true", "nodeSelector['cloud.google.com/gke-spot']"),
    ("restartPolicy: Never", "restartPolicy: Always", "restartPolicy"),
    ("name: grpo", "name: Grpo_1", "$.metadata.name"),
    ("google.com/tpu: 4", "google.com/tpu: four", "limits['google.com/tpu']"),
  ]:
    assert right in text
    [path] = jobset_errors(yaml.safe_load(text.replace(right, wrong)))
    assert path.endswith(where), path
