# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A rollout server does not outlive its engine.

vLLM's engine is a process of its own (vllm/v1/engine/utils.py, `CoreEngineProcManager`). When it is killed, for want of
memory say, requests get an `EngineDeadError`, but the server lives on, and in a weight synchronisation the trainer's
workers wait for the engine for ever. A server that ends is an actor that Ray calls dead, which the watchdog sees.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from recipe.htpo.run.watchdog import EXIT_CODE

# What vLLM calls its engines' processes; of several engines each has its number behind it.
NAME = "EngineCore"
GRACE_S = 10.0


def end_with_the_engine(grace_s: float = GRACE_S) -> None:
    """End this process `grace_s` seconds after an engine's process of it crashed; vLLM tells waiting requests first.

    An engine that ends by itself or is asked to (exit code 0, SIGTERM) is being shut down.
    """
    engines = [child for child in multiprocessing.active_children() if child.name.startswith(NAME)]
    if engines:
        threading.Thread(target=_watch, args=(engines, grace_s), name="htpo-engine-death", daemon=True).start()


def _watch(engines: list[BaseProcess], grace_s: float) -> None:
    wait([engine.sentinel for engine in engines])
    time.sleep(grace_s)
    crashed = [engine for engine in engines if engine.exitcode not in (None, 0, -signal.SIGTERM)]
    if crashed:
        codes = ", ".join(f"{engine.name} (pid {engine.pid}) with exit code {engine.exitcode}" for engine in crashed)
        print(f"HTPO watchdog: vLLM's engine ended, {codes}; ending its server.", file=sys.stderr, flush=True)
        os._exit(EXIT_CODE)
