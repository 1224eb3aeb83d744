# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A temporary directory for everything that one start of a run leaves there.

Ray leaves a session with sockets, vLLM its sockets, verl the locks of its checkpoints; none of them removes them when
it is killed, and some not after a good end.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from recipe.htpo.run.lock import flock

_LOCK = "lock"


@contextmanager
def directory(output_dir: str | Path) -> Iterator[Path]:
    """A directory for the environment variable `TMPDIR`, removed at the end.

    Those of earlier starts of the run that were killed before they could do so are removed first, and what still runs
    of them is ended: Ray's agents wait a minute for a server that is gone. Names are short:
    the path of a socket has 107 bytes at most, of which Ray takes 70.
    """
    prefix = f"htpo_{hashlib.sha256(str(Path(output_dir).resolve()).encode()).hexdigest()[:6]}_"
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_if_left(path)
    path = Path(tempfile.mkdtemp(prefix=prefix))
    # Dies with this process, and says so to the next start.
    with (path / _LOCK).open("wb") as held:
        flock(held)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _remove_if_left(path: Path) -> None:
    # Otherwise its start is alive, or may be, or it is somebody else's.
    with suppress(OSError), (path / _LOCK).open("wb") as lock:
        if flock(lock):
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    if process.environ().get("TMPDIR") == str(path):
                        process.kill()
            shutil.rmtree(path, ignore_errors=True)
