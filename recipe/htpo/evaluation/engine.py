# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""vLLM, offline: chunks of prompts in, samples out, from one copy of the model or from several over Ray."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from recipe.htpo.cpu.rollout_env import ROLLOUT_ENV
from recipe.htpo.evaluation.settings import EvalSettings

QUIET_ENV = {
    "VLLM_LOGGING_LEVEL": "WARNING",
    # The engine in this process: requests then always meet in the same batches.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}


@dataclass(frozen=True)
class Sample:
    """One response."""

    text: str
    tokens: int
    finish_reason: str
    """`stop`, or `length` where it was cut."""


@dataclass(frozen=True)
class Request:
    """One prompt as vLLM gets it."""

    token_ids: list[int]
    seed: int


class Engine:
    """One copy of the model."""

    def __init__(self, model: str, settings: EvalSettings, max_model_len: int) -> None:
        has_accelerator = torch.cuda.is_available()
        for name, value in (QUIET_ENV if has_accelerator else ROLLOUT_ENV | QUIET_ENV).items():
            os.environ.setdefault(name, value)
        # Imported under this environment; takes half a minute.
        from vllm import LLM, SamplingParams

        dtype: Any = settings.dtype if has_accelerator or settings.dtype != "auto" else "float32"
        self._llm = LLM(
            model=model,
            dtype=dtype,
            seed=settings.seed,
            max_model_len=max_model_len,
            tensor_parallel_size=settings.tensor_parallel_size,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            enforce_eager=not has_accelerator,
            **settings.vllm,
        )
        self._sampling = partial(
            SamplingParams,
            n=settings.n,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            max_tokens=settings.max_tokens,
        )

    def generate(self, requests: Sequence[Request]) -> list[list[Sample]]:
        """`n` samples of each prompt. A chunk gives the same samples whatever was generated before it."""
        # What a prompt shares with an earlier chunk would be computed in another batch here than after a restart.
        self._llm.reset_prefix_cache()
        from vllm import TokensPrompt

        outputs = self._llm.generate(
            [TokensPrompt(prompt_token_ids=request.token_ids) for request in requests],
            [self._sampling(seed=request.seed) for request in requests],
            use_tqdm=False,
        )
        return [
            [Sample(s.text, len(s.token_ids), str(s.finish_reason)) for s in sorted(o.outputs, key=lambda s: s.index)]
            for o in outputs
        ]


def generate_chunks(
    model: str, settings: EvalSettings, max_model_len: int, chunks: Mapping[int, Sequence[Request]]
) -> Iterator[tuple[int, list[list[Sample]]]]:
    """`(number, samples)` of every chunk, as they are finished."""
    replicas = min(settings.replicas or _devices() // settings.tensor_parallel_size or 1, len(chunks))
    if replicas <= 1:
        if chunks:
            engine = Engine(model, settings, max_model_len)
            for number, requests in chunks.items():
                yield number, engine.generate(requests)
        return
    yield from _over_ray(model, settings, max_model_len, chunks, replicas)


def _devices() -> int:
    """Accelerators of this machine, or of the Ray cluster that `RAY_ADDRESS` names."""
    if "RAY_ADDRESS" in os.environ:
        import ray

        ray.init(ignore_reinit_error=True)
        return int(ray.cluster_resources().get("GPU", 0))
    return torch.cuda.device_count()


def _over_ray(
    model: str, settings: EvalSettings, max_model_len: int, chunks: Mapping[int, Sequence[Request]], replicas: int
) -> Iterator[tuple[int, list[list[Sample]]]]:
    """Each copy gets the next chunk when it has finished one; a chunk does not depend on which copy that is."""
    import ray

    here = "RAY_ADDRESS" not in os.environ
    if here:
        # Not one that happens to run on this machine, whose resources others have.
        cpus = None if torch.cuda.is_available() else replicas
        ray.init(address="local", num_cpus=cpus, include_dashboard=False)
    needs: dict[str, Any] = {"num_gpus": settings.tensor_parallel_size} if _devices() else {"num_cpus": 1}
    try:
        actor: Any = ray.remote(**needs)(Engine)
        free: list[Any] = [actor.remote(model, settings, max_model_len) for _ in range(replicas)]
        waiting = list(chunks.items())
        running: dict[Any, tuple[int, Any]] = {}
        while waiting or running:
            while waiting and free:
                number, requests = waiting.pop(0)
                engine = free.pop()
                running[engine.generate.remote(list(requests))] = (number, engine)
            done, _ = ray.wait(list(running), num_returns=1)
            number, engine = running.pop(done[0])
            free.append(engine)
            yield number, ray.get(done[0])
    finally:
        if here:
            ray.shutdown()
