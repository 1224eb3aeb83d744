# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Real Ray, on ports and in a directory of its own; a Python that lacks the package."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
from script_support import free_ports, processes_of


@pytest.fixture
def ray_knobs():
    """Knobs of a Ray that meets no other on this machine; whatever it left behind is ended."""
    # Short: Unix sockets in it have paths of at most 107 bytes.
    directory = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    port, dashboard_port = free_ports(2)
    yield {
        "HEAD_ADDRESS": "127.0.0.1",
        "RAY_PORT": port,
        "DASHBOARD_PORT": dashboard_port,
        "RAY_TEMP_DIR": directory,
        "GPUS": 1,
        "RAY_START_ARGS": "--num-cpus=2 --object-store-memory=100000000 --dashboard-agent-listen-port=0 "
        "--min-worker-port=0 --max-worker-port=0",
        "WAIT_TIMEOUT_S": 180,
        "RAY_worker_niceness": 0,
    }
    for pid in processes_of(directory):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def bare_python(tmp_path):
    """A Python that has everything of this environment but verl-htpo."""
    venv = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    target = venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "verl_htpo" not in entry.name and entry.name not in ("recipe", "data_prep"):
            (target / entry.name).symlink_to(entry)
    return venv / "bin" / "python"
