# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Ends a run that makes no progress, or cannot make any.

verl waits for ever when a vLLM worker fails inside a weight synchronisation (a ZMQ receive without time-out), when
generation stalls, when dynamic sampling finds no group it may keep, or when a node is lost while it generates.
"""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

EXIT_CODE = 70
LOOK_FOR_LOSS_S = 10.0


class Watchdog:
    """A thread in the trainer's process that ends it when nothing has happened for `timeout_s` seconds: no `beat`, and
    the same value of `progress`, which is asked about once a second while a phase lasts. Where `lost`, asked every
    `LOOK_FOR_LOSS_S`, says what is gone, it ends the process at once.

    Clocks are monotonic: a change of the system's time changes nothing.
    """

    def __init__(
        self,
        timeout_s: float,
        progress: Callable[[], object] = lambda: None,
        lost: Callable[[], str | None] = lambda: None,
    ) -> None:
        if timeout_s <= 0:
            raise ValueError(f"htpo.watchdog_timeout_s must be positive, got {timeout_s}")
        self.timeout_s = timeout_s
        self._progress, self._lost = progress, lost
        self._seen: object = None
        self._stopped = threading.Event()
        self._phase = "start-up"
        self._last_beat = time.monotonic()
        self._thread: threading.Thread | None = None

    def start(self, phase: str) -> None:
        """Begin to watch; `phase` names what is waited for."""
        self.beat(phase)
        self._stopped.clear()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="htpo-watchdog", daemon=True)
            self._thread.start()

    def beat(self, phase: str) -> None:
        """Report progress: the phase that begins now."""
        self._phase, self._last_beat = phase, time.monotonic()

    def stop(self) -> None:
        """No more watching; the thread ends."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        looked = -LOOK_FOR_LOSS_S
        while not self._stopped.wait(min(1.0, self.timeout_s / 4)):
            lost = None
            try:
                seen = self._progress()
                if time.monotonic() - looked >= LOOK_FOR_LOSS_S:
                    looked = time.monotonic()
                    lost = self._lost()
            except Exception as error:
                # What is looked at changes in another thread; the watch goes on, and this is no progress.
                seen = self._seen
                print(f"HTPO watchdog: cannot see the progress: {error!r}", file=sys.stderr, flush=True)
            if lost is not None:
                print(f"HTPO watchdog: {lost} in {self._phase}; ending the run.", file=sys.stderr, flush=True)
                os._exit(EXIT_CODE)
            if seen != self._seen:
                self._seen, self._last_beat = seen, time.monotonic()
            if time.monotonic() - self._last_beat > self.timeout_s:
                print(
                    f"HTPO watchdog: no progress for {self.timeout_s:.0f} s in {self._phase}; ending the run. An error "
                    "of a rollout or training worker usually stands above this line; the stacks of this process "
                    "follow. Raise htpo.watchdog_timeout_s if the phase is only slow.",
                    file=sys.stderr,
                    flush=True,
                )
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                sys.stderr.flush()
                os._exit(EXIT_CODE)
