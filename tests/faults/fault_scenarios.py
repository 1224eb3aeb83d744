# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The faults: what is done to a run, and what came of it."""

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import fault_findings
import fault_points
import private_mounts
import psutil
from faulty_run import END_S, KINDS, FaultyRun, name_of

MOMENTS = ("start", "step", "step", "save")
# After this many more steps a run has lived through a fault.
STEPS_LIVED = 2


@dataclass
class Result:
    """One fault: what came of it, and everything that should be otherwise."""

    backend: str
    fault: str
    outcome: str = ""
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Kill:
    """SIGKILL to a process; what is None is left to chance."""

    kind: str
    moment: str | None = None
    process: str | None = None


# Kills after which something was amiss, until it was mended (docs/faults.md).
KILLS_THAT_FOUND = [
    Kill("ray", "step", "ray::SimpleStorageUnit"),
    Kill("supervisor", "start"),
    Kill("supervisor", "start"),
]


def kills(run: FaultyRun, seed: int, planned: list[Kill], report: Callable[[Result], None]) -> list[Result]:
    """One kill after the other, each followed by the same command."""
    chance = random.Random(seed)
    traces = fault_findings.Traces()
    results: list[Result] = []
    run.start()
    for kill in planned:
        kind, moment = kill.kind, kill.moment or chance.choice(MOMENTS)
        result = Result(run.backend, f"SIGKILL, {kind}, in a {moment}")
        results.append(result)
        if not run.wait_for_moment(moment, chance):
            result.findings.append(f"the run did not come to a {moment}: {run.log()[-600:]}")
            break

        def candidates(kill: Kill = kill) -> list[psutil.Process]:
            return [victim for victim in run.victims(kill.kind) if kill.process in (None, name_of(victim))]

        run.wait_until(lambda candidates=candidates: bool(candidates()))
        victim = chance.choice(candidates())
        result.fault = f"SIGKILL, {kind} ({name_of(victim)}), in a {moment}"
        victim.kill()
        _see(run, result, traces, supervised=kind != "supervisor")
        report(result)
    end = Result(run.backend, f"the run with those kills (seed {seed})", "came to its end")
    results.append(end)
    _come_to_the_end(run, end)
    end.findings += list(traces.left())
    run.end()
    report(end)
    return results


def _see(run: FaultyRun, result: Result, traces: fault_findings.Traces, supervised: bool) -> None:
    """Wait for what comes of a fault, look at what is left, and start again if the run has ended.

    Where nobody supervised the end, its files are there until the next start, which removes them.
    """
    began, recorded = time.monotonic(), run.recorded()
    run.wait_until(lambda: run.recorded() >= min(recorded + STEPS_LIVED, run.steps), END_S)
    # A run that came to its last step is about to end.
    if run.recorded() >= run.steps:
        run.wait_for_end(END_S)
    if not run.ended():
        if run.recorded() >= recorded + STEPS_LIVED:
            result.outcome = "went on"
            run.begin_again_from_here()
            return
        result.findings.append(f"neither went on nor ended within {END_S:.0f} s")
        run.end()
    else:
        # The supervisor's own death is noticed by nobody who could wait; Ray's agents then look for their GCS for 60 s.
        deadline = time.monotonic() + 120
        while private_mounts.inhabitants() and time.monotonic() < deadline:
            time.sleep(0.5)
        code = run.process.returncode if run.process else None
        result.outcome = f"ended after {time.monotonic() - began:.0f} s, code {code}"
        if supervised:
            result.outcome += f": {reason(run.log() + run.shown())}"
    result.findings += [finding for finding in traces.left() if supervised or "running" in finding]
    left = set(traces.files_left())
    run.end()
    whole = run.whole()
    run.start()
    run.wait_until(lambda: run.resumed_from() is not None)
    resumed = run.resumed_from()
    if not supervised:
        result.findings += sorted(left & set(traces.files_left()))
    result.findings += list(fault_findings.of_resume(run, whole))
    if resumed is None:
        result.findings.append(f"the same command did not continue: {run.log()[-600:]}")
    else:
        run.resumed.add(resumed)
        result.outcome += f"; continued from step {resumed}"


def _come_to_the_end(run: FaultyRun, result: Result) -> None:
    code = run.wait_for_end()
    if code != 0:
        result.findings.append(f"the last start ended with {code}: {run.log()[-600:]}")
        run.end()
        return
    result.findings += list(fault_findings.of_end(run))


@contextmanager
def _switch(directory: Path, fault: str) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / fault).touch()
    try:
        yield
    finally:
        (directory / fault).unlink()


@contextmanager
def _clock(file: Path, seconds: int) -> Iterator[None]:
    file.write_text(f"{seconds:+d}\n")
    yield


def one_fault(
    run: FaultyRun, name: str, fault: Callable[[], AbstractContextManager[None]], lasts_steps: int = 0
) -> Result:
    """Something happens after the second step; when the run has ended, or has gone on, it is mended."""
    traces = fault_findings.Traces()
    result = Result(run.backend, name)
    run.start()
    if not run.wait_until(lambda: run.recorded() >= 2):
        result.findings.append(f"the run did not come to step 2: {run.log()[-600:]}")
        run.end()
        return result
    began, recorded = time.monotonic(), run.recorded()
    with fault():
        goal = recorded + (lasts_steps or STEPS_LIVED)
        run.wait_until(lambda: run.recorded() >= min(goal, run.steps), END_S)
    if not run.ended() and run.recorded() == recorded:
        result.findings.append(f"neither went on nor ended within {END_S:.0f} s")
    if run.ended() and run.recorded() < run.steps:
        code = run.process.returncode if run.process else None
        result.outcome = f"ended after {time.monotonic() - began:.0f} s, code {code}: {reason(run.log() + run.shown())}"
        result.findings += list(traces.left())
        run.end()
        whole = run.whole()
        run.start()
        run.wait_until(lambda: run.resumed_from() is not None)
        result.findings += list(fault_findings.of_resume(run, whole))
        run.resumed.add(run.resumed_from() or 0)
        result.outcome += f"; continued from step {run.resumed_from()}"
    else:
        result.outcome = "went on"
    _come_to_the_end(run, result)
    result.findings += list(traces.left())
    run.end()
    return result


def reason(log: str) -> str:
    """The last error that a log names; one in a warning, as vLLM's on its tokenizer in every start, is none."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", log).splitlines()
    plain = "\n".join(line for line in lines if " WARNING " not in line)
    found = re.findall(r"(?:HTPO watchdog: [^;]*|the disk of .* is full|\b(?:\w+\.)*\w*(?:Error|Exception): .*)", plain)
    return found[-1].strip()[:200] if found else "no reason in the log"


def switched(run: FaultyRun, fault: str) -> Callable[[], AbstractContextManager[None]]:
    """A fault of `fault_points`."""
    return lambda: _switch(Path(run.environment[fault_points.SWITCHES]), fault)


def full_disk(run: FaultyRun) -> Callable[[], AbstractContextManager[None]]:
    """A disk that holds no further checkpoint."""
    return lambda: private_mounts.full(run.output_dir, but_for=1 << 20)


def full_shared_memory() -> AbstractContextManager[None]:
    """A /dev/shm with no page left."""
    return private_mounts.full(private_mounts.SHARED_MEMORY, but_for=0)


def clock_jump(file: Path, seconds: int) -> Callable[[], AbstractContextManager[None]]:
    """Every process's clock of the day jumps."""
    return lambda: _clock(file, seconds)


def one_kill_of_each_kind(seed: int) -> list[Kill]:
    """In a random order."""
    kinds = list(KINDS)
    random.Random(seed).shuffle(kinds)
    return [Kill(kind) for kind in kinds]
