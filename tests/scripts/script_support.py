# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Scripts are run as people run them; real Ray, on ports and in a directory of its own."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
NODE = SCRIPTS / "ray_cluster" / "node.sh"
KNOBS = (
    "BACKEND MODEL MODEL_PATH ALGO DATA_HOME TRAIN_FILES VAL_FILES NNODES GPUS_PER_NODE OUTPUT_DIR RAY_ADDRESS "
    "RAY_AUTH_MODE RAY_AUTH_TOKEN_PATH HEAD_ADDRESS NETWORK_INTERFACE DASHBOARD RUN RETRIES RETRY_WAIT_S REFUSED_CODE"
).split()


def run_script(script: Path, *arguments: str, cwd: Path | None = None, timeout: int = 300, **knobs: object):
    """Run a script with the tests' Python and only the given knobs; the completed process."""
    environment = {name: value for name, value in os.environ.items() if name not in KNOBS}
    environment |= {"PYTHON": sys.executable} | {name: str(value) for name, value in knobs.items()}
    return subprocess.run(
        ["bash", str(script), *arguments], cwd=cwd, env=environment, timeout=timeout, capture_output=True, text=True
    )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def processes_of(directory: str) -> list[int]:
    """Processes whose command line names `directory`: those of the Ray that was started there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if directory.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def wait_until(condition, seconds: float = 60.0) -> bool:
    """Whether the condition became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
