# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How the package is installed: its extras, the Dockerfile, the commands for a GPU node.

Without a GPU or a network the two ways for GPUs are not run. What they name is compared with verl's metadata.
"""

import re
import shlex
import tomllib
from importlib.metadata import requires, version

import pytest
from packaging.requirements import Requirement
from script_support import ROOT, SCRIPTS, run_script

INSTALL = SCRIPTS / "install_gpu.sh"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKED = {
    name.lower().replace("_", "-"): pinned
    for name, pinned in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements-cpu.lock").read_text(), re.M)
}
INSTRUCTIONS = {"FROM", "RUN", "COPY"}


def instructions() -> list[list[str]]:
    """The Dockerfile's instructions in words."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def pip_requirements() -> dict[str, Requirement]:
    """What the Dockerfile installs from the package index."""
    words = [word for line in instructions() if "pip" in line for word in line[line.index("install") + 1 :]]
    found = [Requirement(word) for word in words if not word.startswith(("-", "/"))]
    return {requirement.name.lower(): requirement for requirement in found}


def test_a_wheel_holds_every_file_beside_the_modules():
    """An editable installation has them anyway."""
    patterns = ["*.py", *PYPROJECT["tool"]["setuptools"]["package-data"]["*"]]
    files = [path for package in ("recipe", "data_prep") for path in (ROOT / package).rglob("*") if path.is_file()]
    left_out = [path for path in files if "__pycache__" not in path.parts and not any(map(path.match, patterns))]
    assert not left_out and len(files) > 100


def test_the_lock_has_nothing_for_gpus():
    assert not [name for name in LOCKED if name == "triton" or name.startswith(("nvidia-", "cuda"))]


# Pinned, and not in the lock: its comment in pyproject.toml has the reason.
UNLOCKED = {"tasks"}


def test_what_is_not_locked_is_pinned():
    for extra in UNLOCKED:
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", requirement) for requirement in EXTRAS[extra])


@pytest.mark.parametrize("extra", sorted(set(EXTRAS) - UNLOCKED))
def test_an_extra_is_satisfied_by_the_lock_and_by_what_is_installed(extra):
    """One set of versions that fulfils all of it exists, and is this environment's."""
    for requirement in map(Requirement, EXTRAS[extra]):
        name = requirement.name.lower().replace("_", "-")
        assert requirement.specifier.contains(LOCKED[name]), requirement
        assert requirement.specifier.contains(version(requirement.name)), requirement


def test_no_extra_leans_on_one_of_verl_that_cannot_be_resolved():
    named = [Requirement(line) for lines in (PROJECT["dependencies"], *EXTRAS.values()) for line in lines]
    assert not [str(requirement) for requirement in named if requirement.name == "verl" and requirement.extras]


def test_the_dockerfile():
    lines = instructions()
    assert lines[0][0] == "FROM" and {line[0] for line in lines} == INSTRUCTIONS
    assert ["COPY", ".", "/srv/verl-htpo"] in lines and lines[-1][:3] == ["RUN", "python3", "-c"]
    # verl and this package must not pull in their pins, which would replace the image's.
    for line in lines:
        if "/srv/verl-htpo" in line and line[0] == "RUN" or any(word.startswith("verl==") for word in line):
            assert "--no-deps" in line


def test_the_dockerfile_installs_what_the_metadata_says():
    found = pip_requirements()
    ours = {Requirement(line).name.lower(): Requirement(line).specifier for line in PROJECT["dependencies"]}
    for name in ("transformers", "transferqueue", "verl"):
        assert found[name].specifier == ours[name]
    verls = [Requirement(line) for line in requires("verl") if 'extra == "megatron"' in line]
    (modelopt,) = [requirement for requirement in verls if requirement.name == "nvidia-modelopt"]
    assert found["nvidia-modelopt"].specifier == modelopt.specifier
    # Ours that are not verl's own.
    of_verl = {Requirement(line).name.lower() for line in requires("verl") if "extra" not in line}
    assert set(ours) - of_verl - {"verl"} <= set(found)


@pytest.mark.parametrize("backend, module", [("megatron", "megatron.bridge"), ("fsdp", "flash_attn")])
def test_the_commands_of_a_gpu_node(tmp_path, backend, module):
    shown = run_script(INSTALL, "--dry-run", BACKEND=backend, VERL_SOURCE=tmp_path / "verl")
    assert shown.returncode == 0, shown.stderr
    commands = [shlex.split(line.removeprefix("+ ")) for line in shown.stdout.splitlines()]
    clone, sync, dependencies, package, check = commands
    assert clone[:2] == ["git", "clone"] and "v0.9.1" in clone and sync[:2] == ["uv", "sync"]
    assert [sync[i + 1] for i, word in enumerate(sync) if word == "--extra"] == ["vllm", backend]
    assert package[-2:] == ["--no-deps", str(ROOT)] and module in check[-1] and "plugin.is_loaded()" in check[-1]
    assert set(dependencies[5:]) <= set(pip_requirements())
    assert not (tmp_path / "verl").exists()


@pytest.mark.parametrize(
    "arguments, knobs, words",
    [
        ((), {"BACKEND": "sglang"}, "BACKEND is sglang"),
        (("--help",), {}, "usage"),
        (("--dry-run",), {"OFFLINE": "true", "VERL_SOURCE": "/no/such/checkout"}, "OFFLINE=true clones nothing"),
    ],
)
def test_refused_with_a_reason(arguments, knobs, words):
    finished = run_script(INSTALL, *arguments, **knobs)
    assert finished.returncode == 2 and words in finished.stderr
