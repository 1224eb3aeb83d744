# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What holds for every shell script of the repository, and the Kubernetes manifest against the scripts."""

import json
import re
import subprocess
import sysconfig
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "scripts" / "ray_cluster"
SCRIPTS = sorted(
    [*(ROOT / "scripts").rglob("*.sh"), CLUSTER / "slurm.sbatch", *(ROOT / "tests/scripts/slurm").iterdir()]
)
DOCUMENTED = [
    ROOT / "scripts" / "run_htpo_qwen.sh",
    ROOT / "scripts" / "install_gpu.sh",
    ROOT / "scripts" / "gpu_check.sh",
    *sorted(CLUSTER.glob("*.sh")),
    CLUSTER / "slurm.sbatch",
]
# Set by Slurm, by the shell or by the script itself.
NOT_KNOBS = {"HOME", "PWD", "BASH_SOURCE", "EXIT", "NODES"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shell_script(script):
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n# ") and "\nset -euo pipefail\n" in text
    subprocess.run(["bash", "-n", script], check=True)
    shellcheck = Path(sysconfig.get_path("scripts")) / "shellcheck"
    checked = subprocess.run([shellcheck, "-x", script], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_a_script_goes_where_it_lies(script):
    """With an exported CDPATH `cd scripts/..` may go elsewhere, and prints where it went into `$(cd ... && pwd)`."""
    text = script.read_text()
    assert 'cd "$(dirname' not in text or "\nunset CDPATH\n" in text


@pytest.mark.parametrize("script", DOCUMENTED, ids=lambda path: path.name)
def test_every_knob_is_documented_and_has_a_default(script):
    header, code = script.read_text().split("\nset -euo pipefail\n")
    knobs = set(re.findall(r"\$\{([A-Z][A-Z_]+):-", code)) - NOT_KNOBS
    knobs = {knob for knob in knobs if not knob.startswith("SLURM_")}
    documented = header.partition("Knobs")[2]
    # The Slurm script refers to the other two for theirs.
    others = "".join(path.read_text() for path in DOCUMENTED) if "those of run_htpo_qwen.sh and" in header else ""
    undocumented = {knob for knob in knobs if not re.search(rf"\b{knob}\b", documented + others)}
    assert knobs and not undocumented
    assert "# user-adjustable\n" in code and "# derived defaults\n" in code


def manifest():
    return yaml.safe_load((CLUSTER / "kuberay_rayjob.yaml").read_text())


def broken(path, value):
    """The manifest with another value at a path."""
    job = deepcopy(manifest())
    node = job
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return job


def test_the_kubernetes_manifest_fits_kuberays_schema():
    schema = Draft202012Validator(json.loads((ROOT / "tests/scripts/kuberay_rayjob_schema.json").read_text()))
    assert [error.message for error in schema.iter_errors(manifest())] == []
    pod = ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec")
    for path, value in (
        (("spec", "backOffLimit"), 3),
        (("spec", "backoffLimit"), "3"),
        ((*pod, "enableServiceLink"), False),
        ((*pod, "containers", 0, "env", 0, "valeu"), "x"),
        ((*pod, "containers", 0, "resources", "limits", "memory"), "much"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "replicas"), "three"),
    ):
        assert list(schema.iter_errors(broken(path, value))), path


def test_the_kubernetes_manifest():
    """Sizes, volumes and paths that agree with each other and with the scripts."""
    job = manifest()
    spec = job["spec"]
    assert job["metadata"]["labels"]["ray.io/scheduler-name"] == "volcano"
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode") and spec["shutdownAfterJobFinishes"] is True
    assert yaml.safe_load(spec["runtimeEnvYAML"]) == yaml.safe_load((CLUSTER / "runtime_env.yaml").read_text())
    # One simple command.
    assert not re.search(r"[&|;<>$`\n]", spec["entrypoint"])
    words = spec["entrypoint"].split()
    knobs = dict(word.split("=", 1) for word in words if "=" in word)
    header = (ROOT / "scripts" / "run_htpo_qwen.sh").read_text().partition("\nset -euo")[0]
    assert all(f"#   {knob} " in header for knob in knobs)
    # What `backoffLimit` would try for ever.
    assert knobs["REFUSED_CODE"] == "0"
    clone, _, script = words[-1].partition("/scripts/")
    assert (ROOT / "scripts" / script).is_file() and f"COPY . {clone}" in (ROOT / "Dockerfile").read_text()

    cluster = spec["rayClusterSpec"]
    assert set(cluster) == {"headGroupSpec", "workerGroupSpecs"}
    (workers,) = cluster["workerGroupSpecs"]
    assert set(workers) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == int(knobs["NNODES"]) - 1
    for group in (cluster["headGroupSpec"], workers):
        assert {"rayStartParams", "template"} <= set(group)
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        # A variable of Kubernetes for a service of that name; the nodes are refused with it.
        assert pod["enableServiceLinks"] is False
        assert {"NCCL_IB_HCA", "NCCL_SOCKET_IFNAME"} <= {variable["name"] for variable in container["env"]}
        assert int(resources["limits"]["nvidia.com/hostdev"]) == int(knobs["GPUS_PER_NODE"])
        assert resources["limits"]["nvidia.com/gpu"] == knobs["GPUS_PER_NODE"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert set(mounts) == set(volumes) and mounts["shm"] == "/dev/shm"
        assert all(knobs[name].startswith(mounts["shared"]) for name in ("DATA_HOME", "OUTPUT_DIR"))
        assert "claimName" in volumes["shared"]["persistentVolumeClaim"]
        shared_memory = volumes["shm"]["emptyDir"]
        assert shared_memory["medium"] == "Memory"
        assert int(shared_memory["sizeLimit"].removesuffix("Gi")) < int(
            resources["limits"]["memory"].removesuffix("Gi")
        )
