# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`scripts/ray_cluster`: nodes, the Slurm job and the submission, with real Ray on this machine.

Not covered: Slurm itself (`tests/scripts/slurm` stands in for two of its commands and runs steps here), Kubernetes,
several machines, GPUs (those offered to Ray here are numbers).
"""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from script_support import NODE, ROOT, SCRIPTS, processes_of, run_script, wait_until

SLURM_JOB = SCRIPTS / "ray_cluster" / "slurm.sbatch"
SUBMIT = SCRIPTS / "ray_cluster" / "submit.sh"
STAND_INS = ROOT / "tests" / "scripts" / "slurm"


@contextmanager
def node(role: str, knobs: dict, log, python=sys.executable):
    """A node of `node.sh` in the background, ended as its users end it."""
    environment = os.environ | {name: str(value) for name, value in knobs.items()} | {"PYTHON": str(python)}
    with log.open("w") as stream:
        process = subprocess.Popen(
            ["bash", str(NODE), role], env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=90)


@pytest.mark.parametrize("arguments", [(), ("worker",), ("wait", "2"), ("wait", "x"), ("follower",)])
def test_a_node_says_what_it_lacks(arguments):
    address = {"HEAD_ADDRESS": "127.0.0.1"} if arguments == ("wait", "x") else {}
    finished = run_script(NODE, *arguments, **address)
    assert finished.returncode == 2 and ("HEAD_ADDRESS" in finished.stderr or "usage" in finished.stderr)


def test_a_network_interface_that_is_not_there():
    finished = run_script(NODE, "head", NETWORK_INTERFACE="nope0")
    assert finished.returncode == 2 and "NETWORK_INTERFACE=nope0" in finished.stderr


def test_waiting_for_a_head_that_is_not_there(ray_knobs):
    finished = run_script(NODE, "wait", "2", **ray_knobs | {"WAIT_TIMEOUT_S": 1})
    assert finished.returncode == 1 and "only 0 of 2 nodes joined" in finished.stderr


def test_submission_to_a_cluster_that_is_not_there(ray_knobs):
    dashboard = f"http://127.0.0.1:{ray_knobs['DASHBOARD_PORT']}"
    finished = run_script(SUBMIT, "--dry-run", DASHBOARD=dashboard, OUTPUT_DIR="/shared/run")
    assert finished.returncode == 2 and f"no Ray cluster takes jobs at {dashboard}" in finished.stderr


@pytest.mark.parametrize(
    "knobs", [{"OUTPUT_DIR": "run"}, {"OUTPUT_DIR": "/run", "TRAIN_FILES": "/a.parquet,b.parquet"}]
)
def test_relative_paths_are_refused_where_the_run_is_elsewhere(knobs):
    finished = run_script(SUBMIT, **knobs)
    assert finished.returncode == 2 and "absolute" in finished.stderr


@pytest.mark.slow
def test_two_nodes_come_are_counted_and_go(ray_knobs, tmp_path):
    with node("head", ray_knobs, tmp_path / "head"), node("worker", ray_knobs, tmp_path / "worker"):
        joined = run_script(NODE, "wait", "2", **ray_knobs)
        assert joined.returncode == 0, joined.stderr
        assert joined.stdout.count(": 1 GPUs") == 2
        missing = run_script(NODE, "wait", "3", **ray_knobs | {"WAIT_TIMEOUT_S": 20})
        assert missing.returncode == 1 and "only 2 of 3 nodes joined" in missing.stderr
    assert wait_until(lambda: not processes_of(ray_knobs["RAY_TEMP_DIR"]))


PROBE = """
import sys, ray
ray.init(address=sys.argv[1], runtime_env={"working_dir": sys.argv[2]}, log_to_driver=False)

def look():
    import verl
    from verl.trainer.ppo.v1 import get_trainer_cls
    from recipe.htpo.seams import plugin
    return plugin.is_loaded(), get_trainer_cls("htpo_sync").__name__, plugin.__file__

print(*ray.get(ray.remote(look).options(num_cpus=0).remote()))
"""


@pytest.mark.slow
def test_a_submitted_job_brings_the_package_and_its_plugin_to_nodes_without_it(ray_knobs, bare_python, tmp_path):
    """The nodes' Python has verl but not verl-htpo; the cluster wants its token."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 4)
    security = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token}
    dashboard = f"http://127.0.0.1:{ray_knobs['DASHBOARD_PORT']}"
    job = {"DASHBOARD": dashboard, "OUTPUT_DIR": tmp_path / "run", "JOB_PYTHON": bare_python, "MODEL": "0.6b"}
    job |= {"TRAIN_FILES": tmp_path / "with blank.parquet"}
    with node("head", ray_knobs | security, tmp_path / "head", python=bare_python):
        joined = run_script(NODE, "wait", "1", **ray_knobs | security)
        assert joined.returncode == 0, joined.stderr
        stranger = run_script(SUBMIT, "--dry-run", **job, RAY_AUTH_MODE="disabled")
        assert stranger.returncode == 2 and "RAY_AUTH_TOKEN_PATH" in stranger.stderr
        submitted = run_script(SUBMIT, "--dry-run", **job, **security)
        assert submitted.returncode == 0, submitted.stdout + submitted.stderr
        assert "megatron/qwen3_0_6b" in submitted.stdout and "with blank.parquet" in submitted.stdout
        refused = run_script(SUBMIT, **job | {"ALGO": "nope"}, **security)
        assert refused.returncode != 0 and "ALGO is nope; valid are" in refused.stdout
        # The package that the job brought, in a worker.
        environment = os.environ | {name: str(value) for name, value in security.items()}
        listed = subprocess.run(
            [sys.executable, "-c", "import sys; from ray.job_submission import JobSubmissionClient as Client\n"
             "print(Client(sys.argv[1]).list_jobs()[0].runtime_env['working_dir'])", dashboard],
            env=environment, capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        package = listed.stdout.strip()
        seen = subprocess.run(
            [str(bare_python), "-c", PROBE, f"127.0.0.1:{ray_knobs['RAY_PORT']}", package],
            env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=300,
        )  # fmt: skip
        assert seen.returncode == 0, seen.stderr
        loaded, trainer, path = seen.stdout.split()
        assert (loaded, trainer) == ("True", "HTPOTrainerSync") and ray_knobs["RAY_TEMP_DIR"] in path


@pytest.fixture
def slurm_knobs(ray_knobs, tmp_path):
    return ray_knobs | {
        "PATH": f"{STAND_INS}:{os.environ['PATH']}",
        "REQUEUED": tmp_path / "requeued",
        "SLURM_CPUS_ON_NODE": 2,
        "SLURM_JOB_ID": 77,
        "SLURM_JOB_NUM_NODES": 2,
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_SUBMIT_DIR": ROOT,
        "OUTPUT_DIR": tmp_path / "the run",
    }


def test_a_slurm_job_needs_the_directory_of_its_run(slurm_knobs):
    finished = run_script(SLURM_JOB, **slurm_knobs | {"OUTPUT_DIR": ""})
    assert finished.returncode == 2 and "set OUTPUT_DIR" in finished.stderr


@pytest.mark.slow
def test_a_slurm_job_runs_on_its_nodes_and_hands_on_the_exit_code(slurm_knobs, tmp_path):
    finished = run_script(SLURM_JOB, "--dry-run", **slurm_knobs | {"ALGO": "nope"})
    assert "2 of 2 nodes joined" in finished.stdout, finished.stdout + finished.stderr
    assert finished.returncode == 2 and "ALGO is nope" in finished.stderr
    assert wait_until(lambda: not processes_of(slurm_knobs["RAY_TEMP_DIR"]))
    assert not list((tmp_path / "the run").iterdir()) and not (tmp_path / "requeued").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "code, retries, starts", [(7, 1, 2), (2, 3, 1)], ids=["a crash is retried", "a wrong setting is not"]
)
def test_a_slurm_job_starts_a_crashed_run_again(slurm_knobs, tmp_path, code, retries, starts):
    training = tmp_path / "training.sh"
    training.write_text(f'echo start >>"$OUTPUT_DIR/starts"\nexit {code}\n')
    knobs = slurm_knobs | {"HTPO_ROOT": ROOT, "RUN": os.path.relpath(training, ROOT), "RETRIES": retries}
    finished = run_script(SLURM_JOB, **knobs)
    assert finished.returncode == code, finished.stdout + finished.stderr
    assert (tmp_path / "the run" / "starts").read_text().split() == ["start"] * starts
    assert finished.stdout.count("2 of 2 nodes joined") == starts and not (tmp_path / "requeued").exists()
    assert wait_until(lambda: not processes_of(slurm_knobs["RAY_TEMP_DIR"]))


def test_the_number_of_retries_is_a_number(slurm_knobs):
    for retries in ("ever", "08"):
        finished = run_script(SLURM_JOB, **slurm_knobs | {"RETRIES": retries})
        assert finished.returncode == 2 and f"RETRIES is {retries}" in finished.stderr


STOPS = 'until [[ -e "$OUTPUT_DIR/stop" ]]; do sleep 0.2; done\nexit 75\n'


@pytest.mark.slow
@pytest.mark.parametrize(
    "rest, grace_s, code",
    [(STOPS, 120, 75), ("exec sleep 600\n", 1, 143)],
    ids=["it saves and stops", "it does not come to the end of its step"],
)
def test_a_slurm_job_whose_time_is_up_is_queued_again(slurm_knobs, tmp_path, rest, grace_s, code):
    training = tmp_path / "training.sh"
    training.write_text(f'echo "$RAY_ADDRESS $NNODES $RETRIES" >"$OUTPUT_DIR/started"\n{rest}')
    knobs = slurm_knobs | {"HTPO_ROOT": ROOT, "RUN": os.path.relpath(training, ROOT), "STOP_GRACE_S": grace_s}
    environment = os.environ | {name: str(value) for name, value in knobs.items()} | {"PYTHON": sys.executable}
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen(
            ["bash", str(SLURM_JOB)], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    started = tmp_path / "the run" / "started"
    assert wait_until(started.exists, 240), (tmp_path / "log").read_text()
    # The job retries, not the script in it.
    assert started.read_text().split() == [f"127.0.0.1:{knobs['RAY_PORT']}", "2", "0"]
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=120) == code
    assert (tmp_path / "requeued").read_text() == "77\n"
    assert wait_until(lambda: not processes_of(knobs["RAY_TEMP_DIR"]))
