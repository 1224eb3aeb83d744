# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Environment of a vLLM process on a CPU; apart from platform.py because it needs nothing of verl."""

# A value from the user's environment wins.
ROLLOUT_ENV = {
    # Without it the first request waits about 20 s for C++ compilation.
    "TORCHDYNAMO_DISABLE": "1",
    # vLLM would pin its threads to cores that the trainer's process uses as well.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # With "1" vLLM takes the executor `mp` for `uni`, for the sake of thread binding (vllm/platforms/cpu.py).
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
