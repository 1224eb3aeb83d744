# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One process of one layout: runs cases on verl's `TrainingWorker`, as the trainer's actor does, and saves results.

Called by `engines_launch`, with RANK and WORLD_SIZE in the environment.
"""

import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from engines_attention import ULYSSES_ATTENTION
from engines_batch import CLIP, OBJECTIVE, Batch, rows_of
from engines_cases import ADAM, CASES, LAYOUTS, SCORE_OPTIONS, TEMPERATURE, Case, Layout, runs
from tensordict import TensorDict
from torch import Tensor
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.utils.metric import reduce_metrics
from verl.workers.config import (
    ActorConfig,
    FSDPEngineConfig,
    FSDPOptimizerConfig,
    HFModelConfig,
    McoreEngineConfig,
    McoreOptimizerConfig,
    PolicyLossConfig,
    TrainingWorkerConfig,
)
from verl.workers.engine_workers import TrainingWorker
from verl.workers.utils import losses as verl_losses
from verl.workers.utils.padding import response_from_nested

import recipe.htpo.seams.loss as loss_module
from recipe.htpo.objective import load_preset
from recipe.htpo.run import heartbeat
from recipe.htpo.seams.groups import split_tokens
from recipe.htpo.seams.influence import (
    ANCHOR_FIELD,
    CORRECT_FIELD,
    MARGIN_FIELD,
    MODEL_TYPE,
    OPTIONS,
    PROMPT_FIELD,
    SCORE_FIELD,
)

# With so large an epsilon, AdamW's step is GRADIENT_SCALE * gradient, exactly: the change of the weights tells the
# gradient after everything that an engine does to it.
GRADIENT_SCALE = 2.0**14
HUGE_EPSILON = 2.0**20

Result = dict[str, Any]


def engine_config(layout: Layout, case: Case, rows: int) -> FSDPEngineConfig | McoreEngineConfig:
    budget = 120 if case.split == "dynamic" else None
    size = rows if case.split == "one" else 2
    batching = dict(
        use_dynamic_bsz=case.split == "dynamic",
        max_token_len_per_gpu=budget,
        infer_max_token_len_per_gpu=budget,
        micro_batch_size_per_gpu=size,
        infer_micro_batch_size_per_gpu=size,
        dtype="float32",
    )
    if layout.engine == "fsdp2":
        fp32 = dict(param_dtype="fp32", reduce_dtype="fp32", buffer_dtype="fp32")
        return FSDPEngineConfig(
            strategy="fsdp2",
            model_dtype="fp32",
            mixed_precision=fp32,
            use_torch_compile=False,
            ulysses_sequence_parallel_size=layout.ulysses,
            **batching,
        )
    return McoreEngineConfig(
        tensor_model_parallel_size=layout.tp,
        pipeline_model_parallel_size=layout.pp,
        context_parallel_size=layout.cp,
        sequence_parallel=layout.tp > 1,
        vanilla_mbridge=True,
        override_transformer_config={"attention_dropout": 0.0},
        **batching,
    )


def optimizer_config(layout: Layout, case: Case) -> FSDPOptimizerConfig | McoreOptimizerConfig:
    settings: dict[str, Any] = ADAM | dict(total_training_steps=10)
    override = {}
    if case.run == "gradient":
        settings |= dict(lr=GRADIENT_SCALE * HUGE_EPSILON, weight_decay=0.0, clip_grad=1e9)
        override = {"eps" if layout.engine == "fsdp2" else "adam_eps": HUGE_EPSILON}
    # The rate has to change from step to step, for a resume to show that it was restored.
    if layout.engine == "fsdp2":
        return FSDPOptimizerConfig(lr_scheduler_type="cosine", override_optimizer_config=override, **settings)
    # verl's default, False, starts the schedule anew after every resume.
    return McoreOptimizerConfig(
        lr_decay_style="cosine",
        use_checkpoint_opt_param_scheduler=True,
        override_optimizer_config=override,
        **settings,
    )


class Actor:
    """A fresh actor on every process of the layout."""

    def __init__(self, layout: Layout, case: Case, model: Path, batch: Batch) -> None:
        self.layout, self.case, self.batch = layout, case, batch
        ranks = layout.data_parallel
        self.worker = TrainingWorker(
            TrainingWorkerConfig(
                model_type=MODEL_TYPE,
                model_config=HFModelConfig(
                    path=str(model),
                    override_config={"attn_implementation": ULYSSES_ATTENTION if layout.ulysses > 1 else "sdpa"},
                    use_remove_padding=case.packed,
                    enable_gradient_checkpointing=False,
                ),
                engine_config=engine_config(layout, case, len(batch["row"]) // ranks),
                optimizer_config=optimizer_config(layout, case),
                checkpoint_config=CheckpointConfig(),
            )
        )
        self.worker.reset()
        actor = ActorConfig(
            strategy=layout.engine,
            rollout_n=4,
            ppo_micro_batch_size_per_gpu=1,
            policy_loss=PolicyLossConfig(loss_mode="htpo"),
            **CLIP,
        )
        self.objective = load_preset("htpo_paper", OBJECTIVE | {"entropy_source": case.entropy_source})
        self.worker.set_loss_fn(partial(loss_module.htpo_loss, actor, self.objective))

    def data(self, **extra_info: Any) -> TensorDict:
        """This data-parallel rank's share, with the trainer's extra information."""
        rows = rows_of(self.batch, self.worker.engine.get_data_parallel_rank(), self.layout.data_parallel)
        data = TensorDict({name: one_tensor(values) for name, values in rows.items()}, batch_size=len(rows["row"]))
        data[loss_module.GROUPS_FIELD], _ = split_tokens(data, data["hard"], data["correct"], self.objective)
        tu.assign_non_tensor(data, temperature=TEMPERATURE, **extra_info)
        return data

    def infer(self) -> Result:
        """Log-probabilities and entropy of this rank's responses; empty where verl collects nothing."""
        data = self.data(calculate_entropy=True, compute_loss=False)
        rows, mask = data["row"].tolist(), data["response_mask"]
        output = self.worker.infer_batch(data)
        if output is None:
            return {}
        return {
            name: dict(zip(rows, response_from_nested(output[name], mask).unbind(), strict=True))
            for name in ("log_probs", "entropy")
        }

    def scores(self, options: dict[str, Any]) -> tuple[Result, Result]:
        """Scores and anchors of this rank's responses; empty where verl collects nothing."""
        data = self.data(calculate_entropy=True, compute_loss=False, **{OPTIONS: options})
        data[PROMPT_FIELD], data[CORRECT_FIELD] = data["prompt"], data["correct"]
        rows = data["row"].tolist()
        output = self.worker.infer_batch(data)
        if output is None:
            return {}, {}
        if MARGIN_FIELD in output:
            return dict(zip(rows, output[MARGIN_FIELD].unbind(), strict=True)), {}
        # NaN, of responses without an anchor, is not equal to itself.
        anchors = output[ANCHOR_FIELD].nan_to_num(nan=-1.0)
        return (
            dict(zip(rows, output[SCORE_FIELD].unbind(), strict=True)),
            dict(zip(rows, anchors, strict=True)),
        )

    def train(self) -> Result:
        """Metrics of one update, and the groups that the loss made, by row."""
        rows = len(self.batch["row"])
        data = self.data(
            calculate_entropy=self.case.entropy_source == "current",
            global_batch_size=rows,
            mini_batch_size=rows,
            epochs=1,
            seed=1,
            dataloader_kwargs={"shuffle": False},
        )
        with recorded_groups() as groups:
            output = self.worker.train_mini_batch(data)
        metrics = {} if output is None else reduce_metrics(tu.get(output, "metrics"))
        return {"metrics": {name: float(value) for name, value in metrics.items()}, "groups": groups}

    def weights(self) -> dict[str, Tensor]:
        """The weights as the rollout gets them."""
        parameters, _ = self.worker.engine.get_per_tensor_param()
        return {name: tensor.detach().clone() for name, tensor in parameters}


def one_tensor(rows: list[Tensor]) -> Tensor:
    """`[B]` for scalars, jagged otherwise."""
    return torch.stack(rows) if rows[0].dim() == 0 else torch.nested.as_nested_tensor(rows, layout=torch.jagged)


@contextmanager
def recorded_groups() -> Iterator[dict[int, Tensor]]:
    """Encoded groups `[T]` by row, of every micro-batch whose loss is computed inside the context."""
    by_row: dict[int, Tensor] = {}
    original_loss = verl_losses.ppo_loss

    def recording_loss(config: ActorConfig, model_output: Any, data: TensorDict, dp_group: Any) -> Any:
        lengths = data["response_mask"].offsets().diff().tolist()
        codes = loss_module._current.get().groups.code
        for row, length, code in zip(data["row"].tolist(), lengths, codes, strict=True):
            by_row[row] = code[:length]
        return original_loss(config, model_output, data, dp_group)

    with mock.patch.object(verl_losses, "ppo_loss", recording_loss):
        yield by_row


def run_gradient(make: Any, directory: Path) -> Result:
    actor = make()
    with mock.patch.object(heartbeat, "beat") as beat:
        result = actor.infer()
    result["beats"] = beat.call_count
    before = actor.weights()
    result |= actor.train()
    after = actor.weights()
    result["gradients"] = {name: (before[name] - after[name]) / GRADIENT_SCALE for name in before}
    return result


def run_adam(make: Any, directory: Path) -> Result:
    actor = make()
    result = actor.train()
    return result | {"weights": actor.weights()}


def run_resume(make: Any, directory: Path) -> Result:
    first = make()
    first.train()
    first.worker.save_checkpoint(str(directory), global_step=1)
    expected = steps_after(first)
    torch.manual_seed(99)
    second = make()
    second.worker.load_checkpoint(str(directory))
    return {"uninterrupted": expected, "resumed": steps_after(second)}


def steps_after(actor: Actor) -> Result:
    """Everything observable of the random state and of two further steps."""
    random = torch.rand(8)
    steps = [actor.train()["metrics"] for _ in range(2)]
    return {"random": random, "metrics": steps, "weights": actor.weights()}


def run_scores(make: Any, directory: Path) -> Result:
    actor = make()
    result: Result = {}
    for name, options in SCORE_OPTIONS.items():
        result[name], result[f"{name}_anchors"] = actor.scores(options)
    result["margins"], _ = actor.scores({"margins": True})
    return result


RUNS = {"gradient": run_gradient, "adam": run_adam, "resume": run_resume, "scores": run_scores}


def main(layout: str, inputs: Path, outputs: Path) -> None:
    """Run the layout's cases on the models and batches below `inputs`; save this rank's results."""
    results: dict[str, Result] = {}
    for case in CASES:
        if not runs(layout, case):
            continue
        model = inputs / case.model
        batch = torch.load(model / "batch.pt")
        directory = outputs / "checkpoint"
        try:
            results[str(case)] = RUNS[case.run](partial(Actor, LAYOUTS[layout], case, model, batch), directory)
        except Exception:
            # The other cases still run: an error nearly always occurs on every rank.
            results[str(case)] = {"error": traceback.format_exc()}
        torch.distributed.barrier()
        if os.environ["RANK"] == "0":
            shutil.rmtree(directory, ignore_errors=True)
    torch.save(results, outputs / f"rank{os.environ['RANK']}.pt")
    torch.distributed.destroy_process_group()
