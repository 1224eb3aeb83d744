# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What one process finds on its node. `nodes.py` ships this function by value and runs it on every node.

It imports nothing of this package and nothing outside the standard library at the top: the node it runs on may have
neither, and has to be able to say so.
"""

from collections.abc import Sequence
from typing import Any

PACKAGE = "recipe.htpo"
PLUGIN = "recipe.htpo.seams.plugin"


def probe(distributions: Sequence[str], paths: Sequence[str], modules: Sequence[str] = ()) -> dict[str, Any]:
    """Look at this process's environment as a training worker of verl would.

    Args:
        distributions: names of distributions whose versions are wanted.
        paths: local paths that the run reads or writes.
        modules: modules that the run's workers import, which may be installed and still fail to load.

    Returns:
        `versions` (name -> version or None, with `Python` and `source`, the digest of this package's files),
        `missing` (paths that are not there), `package_error` and `plugin_error` (a reason, or None when all is well),
        `import_errors` (module -> reason, of those that failed), `host_bytes` and `shm_bytes` (what processes may use
        of the memory and of /dev/shm; None where that is unknown), `vllm_port` (the variable VLLM_PORT, or None),
        `executable` and `directory` of the process.
    """
    import hashlib
    import importlib
    import importlib.metadata
    import os
    import pathlib
    import platform
    import sys

    versions: dict[str, str | None] = {"Python": platform.python_version()}
    for name in distributions:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    report: dict[str, Any] = {
        "versions": versions,
        "missing": [path for path in paths if not os.path.exists(os.path.expanduser(path))],
        "package_error": None,
        "plugin_error": None,
        "import_errors": {},
        "host_bytes": None,
        "shm_bytes": None,
        "vllm_port": os.environ.get("VLLM_PORT"),
        "executable": sys.executable,
        "directory": os.getcwd(),
    }
    try:
        report["host_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        # A container's limit; "max" is none.
        limit = pathlib.Path("/sys/fs/cgroup/memory.max").read_text().strip()
        report["host_bytes"] = min(report["host_bytes"], int(limit))
    except (OSError, ValueError):
        pass
    try:
        shm = os.statvfs("/dev/shm")
        report["shm_bytes"] = shm.f_blocks * shm.f_frsize
    except OSError:
        pass
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:
            report["import_errors"][name] = f"{type(error).__name__}: {error}".splitlines()[0]
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        report["package_error"] = str(error)
        return report
    root = pathlib.Path(str(package.__file__)).parent
    digest = hashlib.sha256()
    for file in sorted([*root.rglob("*.py"), *root.rglob("*.yaml")]):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    versions["source"] = digest.hexdigest()[:12]
    try:
        # verl loads its plugins here, as in every worker, and swallows their errors.
        importlib.import_module("verl")
        plugin = sys.modules.get(PLUGIN)
        if plugin is None or not plugin.is_loaded():
            # Anything that it swallowed comes up again; silence means that verl did not look for the plugin.
            sys.modules.pop(PLUGIN, None)
            importlib.import_module(PLUGIN)
            report["plugin_error"] = (
                "verl did not load it: is the entry point installed, VERL_USE_EXTERNAL_PLUGINS set?"
            )
    except Exception as error:
        report["plugin_error"] = f"{type(error).__name__}: {error}"
    return report
