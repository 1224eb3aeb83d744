# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Ends a run that makes no progress, or cannot make any.

verl waits for ever when a vLLM worker fails inside a weight synchronisation (a ZMQ receive without time-out), when
generation stalls, when dynamic sampling finds no group it may keep, or when a node or TransferQueue's storage is lost
while it generates.
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
    `LOOK_FOR_LOSS_S`, says what is gone, the process ends at once. It is asked in a thread of its own: a cluster that
    is gone may never answer.

    Clocks are monotonic: a change of the system's time changes nothing.
    """

    def __init__(
        self,
        timeout_s: float,
        progress: Callable[[], object] = lambda: None,
        lost: Callable[[], str | None] | None = None,
    ) -> None:
        if timeout_s <= 0:
            raise ValueError(f"htpo.watchdog_timeout_s must be positive, got {timeout_s}")
        self.timeout_s = timeout_s
        self._progress, self._lost = progress, lost
        self._seen: object = None
        self._stopped = threading.Event()
        self._phase = "start-up"
        self._last_beat = time.monotonic()
        self._threads: list[threading.Thread] = []

    def start(self, phase: str) -> None:
        """Begin to watch; `phase` names what is waited for."""
        self.beat(phase)
        self._stopped.clear()
        if not self._threads:
            watches = [self._watch] + ([self._look_for_loss] if self._lost else [])
            self._threads = [threading.Thread(target=watch, name="htpo-watchdog", daemon=True) for watch in watches]
            for thread in self._threads:
                thread.start()

    def beat(self, phase: str) -> None:
        """Report progress: the phase that begins now."""
        self._phase, self._last_beat = phase, time.monotonic()

    def stop(self) -> None:
        """No more watching; the threads end, but one that waits for an answer of `lost`."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=5.0)
        self._threads = []

    def _look_for_loss(self) -> None:
        assert self._lost is not None
        while True:
            try:
                lost = self._lost()
            except Exception as error:
                lost = None
                print(f"HTPO watchdog: cannot look for what is lost: {error!r}", file=sys.stderr, flush=True)
            if lost is not None and not self._stopped.is_set():
                print(f"HTPO watchdog: {lost} in {self._phase}; ending the run.", file=sys.stderr, flush=True)
                os._exit(EXIT_CODE)
            if self._stopped.wait(LOOK_FOR_LOSS_S):
                return

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self.timeout_s / 4)):
            try:
                seen = self._progress()
            except Exception as error:
                # What is looked at changes in another thread; the watch goes on, and this is no progress.
                seen = self._seen
                print(f"HTPO watchdog: cannot see the progress: {error!r}", file=sys.stderr, flush=True)
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
