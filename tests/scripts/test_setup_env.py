# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`scripts/setup_env.sh` up to where it would install: which environment and which Python it takes."""

import shutil
import sys

import pytest
from script_support import ROOT, SCRIPTS, run_script

SETUP = SCRIPTS / "setup_env.sh"
NOBODY = "/no/such/python"


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """Another clone, which the tests' environment was not made for."""
    monkeypatch.delenv("HTPO_VENV", raising=False)
    clone = tmp_path / "clone"
    for name in ("scripts/setup_env.sh", "data_prep/__init__.py", "requirements-cpu.lock", "pyproject.toml"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    return clone


def test_the_active_environment_is_taken_whatever_cdpath_is(tmp_path):
    (tmp_path / "scripts").mkdir()
    knobs = {"VIRTUAL_ENV": sys.prefix, "HTPO_PYTHON": NOBODY, "CDPATH": f"{tmp_path}:."}
    found = run_script("scripts/setup_env.sh", cwd=ROOT, **knobs)
    assert found.stdout == f"{sys.prefix}/bin/python\n", found.stderr


def test_the_environment_of_another_clone_is_not_taken(clone):
    found = run_script(clone / "scripts/setup_env.sh", cwd=clone, VIRTUAL_ENV=sys.prefix, HTPO_PYTHON=NOBODY)
    assert found.returncode == 2 and "no Python 3.11 or 3.12" in found.stderr and found.stdout == ""


def test_what_making_an_environment_prints_is_not_its_python(clone, tmp_path):
    """A Python that only says why it can make none, in a directory with a space."""
    python = tmp_path / "a directory" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\n[ "$1" = -m ] || exit 0\necho ensurepip is not available\nexit 1\n')
    python.chmod(0o755)
    found = run_script(clone / "scripts/setup_env.sh", VIRTUAL_ENV="", CONDA_PREFIX="", HTPO_PYTHON=python)
    assert found.returncode == 1 and "ensurepip is not available" in found.stderr and found.stdout == ""


def test_a_python_without_ensurepip_is_said_to_be_of_no_use(clone, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.modules[\'ensurepip\'] = None\n$2"\n')
    python.chmod(0o755)
    found = run_script(clone / "scripts/setup_env.sh", VIRTUAL_ENV="", CONDA_PREFIX="", HTPO_PYTHON=python)
    assert found.returncode == 2 and "python3.11-venv" in found.stderr


@pytest.mark.parametrize("name", ["a directory", "a&b", "it's", "[x]", "$x"])
def test_no_environment_is_made_where_ray_starts_no_worker(clone, tmp_path, name):
    knobs = {"VIRTUAL_ENV": "", "CONDA_PREFIX": "", "HTPO_PYTHON": NOBODY}
    found = run_script(clone / "scripts/setup_env.sh", HTPO_VENV=tmp_path / name, **knobs)
    assert found.returncode == 2 and "Ray hands the path" in found.stderr and "HTPO_VENV" in found.stderr
    assert "no Python" in run_script(clone / "scripts/setup_env.sh", HTPO_VENV=tmp_path / "\u00fc-1.0", **knobs).stderr
