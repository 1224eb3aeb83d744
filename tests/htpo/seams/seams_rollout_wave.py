# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One wave of long responses on a vLLM engine, under the watchdog: `python seams_rollout_wave.py MODEL TIMEOUT_S`.

No response ends before several time-outs are over: a short wave tells how long they have to be on this machine.
Afterwards the engine is stopped in the middle of another wave, as one that hangs.
"""

import asyncio
import os
import signal
import sys
import time

import psutil

from recipe.htpo.run import heartbeat
from recipe.htpo.run.watchdog import Watchdog

RESPONSES, SHORT, LONGEST = 32, 400, 16_000


async def wave(engine, tokens: int, name: str) -> float:
    """Seconds of a wave of responses of so many tokens."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    began = time.monotonic()
    sampling = SamplingParams(
        max_tokens=tokens, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
    )

    async def response(number: int) -> int:
        prompt = {"prompt_token_ids": [5, 6, 7 + number % 3]}
        async for output in engine.generate(prompt, sampling, request_id=f"{name}_{number}"):
            last = output
        return len(last.outputs[0].token_ids)

    lengths = await asyncio.gather(*(response(number) for number in range(RESPONSES)))
    assert set(lengths) == {tokens}, lengths
    return time.monotonic() - began


async def main(model: str, timeout_s: float) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    from recipe.htpo.seams.rollout_beat import RolloutBeat

    arguments = AsyncEngineArgs(
        model=model,
        skip_tokenizer_init=True,
        enforce_eager=True,
        dtype="float32",
        max_model_len=LONGEST + 8,
        max_num_seqs=RESPONSES,
        distributed_executor_backend="uni",
        # As on the CPU platform: a whole response in one message.
        stream_interval=LONGEST,
        disable_log_stats=True,
    )
    engine = AsyncLLM.from_engine_args(arguments, stat_loggers=[RolloutBeat])
    await wave(engine, 8, "first")
    tokens = min(int(3 * timeout_s * SHORT / await wave(engine, SHORT, "short")), LONGEST)
    watchdog = Watchdog(timeout_s, progress=lambda: heartbeat.last(os.environ[heartbeat.VARIABLE]))
    watchdog.start("generation of step 1")
    seconds = await wave(engine, tokens, "healthy")
    watchdog.stop()
    print(f"the wave took {seconds:.1f} s", flush=True)
    watchdog.start("generation of step 2")
    hanging = asyncio.create_task(wave(engine, tokens, "hanging"))
    await asyncio.sleep(timeout_s / 2)
    for process in psutil.Process().children(recursive=True):
        process.send_signal(signal.SIGSTOP)
    await hanging


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
