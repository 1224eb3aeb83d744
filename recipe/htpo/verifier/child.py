# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A grader in a child process that can be killed: the only sure bound on code that may hang.

The child is a fresh interpreter, so it does not import the caller's main module and its main thread is its own. Parent
and child speak one JSON object a line.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from recipe.htpo.verifier.graders import LOADERS


@dataclass(frozen=True, slots=True)
class ChildResult:
    """What a grader said and how long it took; ``correct`` is None when it was killed, crashed or raised."""

    correct: bool | None
    seconds: float
    cpu_seconds: float = 0.0
    problem: str = ""


class ChildGrader:
    """Runs one grader of :data:`.graders.LOADERS`; not thread-safe."""

    def __init__(self, name: str, limit_s: float, start_limit_s: float = 120.0) -> None:
        if name not in LOADERS:
            raise ValueError(f"unknown grader {name!r}; known: {', '.join(LOADERS)}")
        self.name = name
        self.limit_s = limit_s
        self.start_limit_s = start_limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def start(self) -> str:
        """Start the child and wait until its libraries are loaded; returns a problem, or the empty string."""
        self.close()
        self._unread = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "recipe.htpo.verifier.child", self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        ready = self._receive(self.start_limit_s)
        if ready is None:
            self.close()
            return "the grader did not start"
        return ready.get("problem", "")

    def grade(self, response: str, ground_truth: str) -> ChildResult:
        """Grade one response; past ``limit_s`` the child is killed and the next call starts a new one."""
        if self._process is None or self._process.poll() is not None:
            problem = self.start()
            if problem:
                return ChildResult(None, 0.0, problem=problem)
        assert self._process is not None and self._process.stdin is not None
        start = time.perf_counter()
        try:
            self._process.stdin.write(json.dumps([response, ground_truth]).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._receive(self.limit_s)
        except BrokenPipeError:
            answer = None
        seconds = time.perf_counter() - start
        if answer is None:
            self.close()
            problem = "over the time limit" if seconds >= self.limit_s else "crashed"
            return ChildResult(None, seconds, problem=problem)
        return ChildResult(answer["correct"], answer["seconds"], answer["cpu_seconds"], answer["problem"])

    def close(self) -> None:
        """Kill the child."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _receive(self, limit_s: float) -> dict[str, Any] | None:
        """The next line of the child, or None when none comes in time."""
        assert self._process is not None and self._process.stdout is not None
        handle = self._process.stdout.fileno()
        deadline = time.monotonic() + limit_s
        while b"\n" not in self._unread:
            rest = deadline - time.monotonic()
            if rest <= 0 or not select.select([handle], [], [], rest)[0]:
                return None
            received = os.read(handle, 65536)
            if not received:
                return None
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)


def serve(name: str) -> None:
    """The child's loop: read a response and a ground truth, write the verdict."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not reach the channel
    try:
        grader = LOADERS[name]()
        problem = ""
    except ImportError as error:
        problem = str(error)
    print(json.dumps({"problem": problem}), file=channel, flush=True)
    if problem:
        return
    for line in sys.stdin:
        response, truth = json.loads(line)
        start, cpu_start = time.perf_counter(), time.process_time()
        result: dict[str, Any] = {"correct": None, "problem": ""}
        try:
            result["correct"] = grader(response, truth)
        except Exception as error:
            result["problem"] = repr(error)
        result["seconds"] = time.perf_counter() - start
        result["cpu_seconds"] = time.process_time() - cpu_start
        print(json.dumps(result), file=channel, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
