# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One wave of long responses on a vLLM engine, under the watchdog: `python seams_rollout_wave.py MODEL TIMEOUT_S`.

No response ends before several time-outs are over. Afterwards the engine is stopped in the middle of a second wave, as
one that hangs.
"""

import asyncio
import os
import signal
import sys
import time

import psutil

from recipe.htpo.run import heartbeat
from recipe.htpo.run.watchdog import Watchdog

RESPONSES, TOKENS = 32, 2000


async def wave(engine, sampling, name: str) -> None:
    async def response(number: int) -> int:
        prompt = {"prompt_token_ids": [5, 6, 7 + number % 3]}
        async for output in engine.generate(prompt, sampling, request_id=f"{name}_{number}"):
            last = output
        return len(last.outputs[0].token_ids)

    lengths = await asyncio.gather(*(response(number) for number in range(RESPONSES)))
    assert set(lengths) == {TOKENS}, lengths


async def main(model: str, timeout_s: float) -> None:
    from vllm import SamplingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.async_llm import AsyncLLM

    from recipe.htpo.seams.rollout_beat import RolloutBeat

    arguments = AsyncEngineArgs(
        model=model,
        skip_tokenizer_init=True,
        enforce_eager=True,
        dtype="float32",
        max_model_len=TOKENS + 8,
        max_num_seqs=RESPONSES,
        distributed_executor_backend="uni",
        # As on the CPU platform: a whole response in one message.
        stream_interval=TOKENS,
        disable_log_stats=True,
    )
    engine = AsyncLLM.from_engine_args(arguments, stat_loggers=[RolloutBeat])
    sampling = SamplingParams(
        max_tokens=TOKENS, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
    )
    watchdog = Watchdog(timeout_s, progress=lambda: heartbeat.last(os.environ[heartbeat.VARIABLE]))
    began = time.monotonic()
    watchdog.start("generation of step 1")
    await wave(engine, sampling, "healthy")
    watchdog.stop()
    print(f"the wave took {time.monotonic() - began:.1f} s", flush=True)
    watchdog.start("generation of step 2")
    hanging = asyncio.create_task(wave(engine, sampling, "hanging"))
    await asyncio.sleep(timeout_s / 2)
    for process in psutil.Process().children(recursive=True):
        process.send_signal(signal.SIGSTOP)
    await hanging


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
