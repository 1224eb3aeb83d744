# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's FSDP engines with the scores of THR and NTHR: padded and packed, with Ulysses."""

from typing import Any

import torch
import torch.distributed as dist
from tensordict import TensorDict
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils.hooks import RemovableHandle
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from recipe.htpo.seams.engine_beat import EngineBeat
from recipe.htpo.seams.head_inputs import PART, HeadInputs
from recipe.htpo.seams.influence import MODEL_TYPE, InfluencePass, Ranks


@EngineRegistry.register(model_type=MODEL_TYPE, backend=["fsdp", "fsdp2"], device=["cuda", "npu"])
class InfluenceFSDPEngine(EngineBeat, InfluencePass, FSDPEngineWithLMHead):
    """verl's FSDP engine, its heartbeat, and the scores."""

    def _watch_head(self, inputs: HeadInputs) -> RemovableHandle:
        head = self.module.get_output_embeddings()

        def give(module: torch.nn.Module, arguments: tuple[Tensor, ...]) -> None:
            if isinstance(module.weight, DTensor) or module.bias is not None:
                raise NotImplementedError("scores need an LM head without bias whose weight is whole in the forward")
            inputs.give(arguments[0].flatten(0, 1), module.weight, keep=True)

        return head.register_forward_pre_hook(give)

    def _ranks(self) -> Ranks:
        world = dist.group.WORLD
        if not self.use_ulysses_sp:
            return Ranks(data=world, sequence=None, tokens=world)
        return Ranks(data=self.get_data_parallel_group(), sequence=self.ulysses_parallel_group, tokens=world)

    def prepare_model_outputs(
        self, output: Any, output_args: dict[str, Any], micro_batch: TensorDict, logits_processor_func: Any
    ) -> dict[str, Tensor]:
        result = super().prepare_model_outputs(output, output_args, micro_batch, logits_processor_func)
        if self._inputs is not None:
            self._inputs.take(micro_batch, self._slots(output_args, micro_batch["input_ids"]))
        return result

    def _slots(self, output_args: dict[str, Any], input_ids: Tensor) -> Tensor:
        """Slots of the tokens, as verl finds their log-probabilities (`prepare_model_outputs` of its engine)."""
        offsets = input_ids.offsets()  # type: ignore[attr-defined]
        if "temperature_rmpad" not in output_args:
            lengths = offsets.diff()
            width = int(lengths.max())
            row = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
            slots = row * width + torch.arange(len(row), device=row.device) - offsets[row]
        else:
            local = output_args["input_ids_rmpad_rolled"]
            slots = torch.arange(len(local), device=local.device) + PART * self._ranks().part
            slots = self._gather_and_unpad_packed(slots, output_args["pad_size"])
        return torch.nested.nested_tensor_from_jagged(slots, offsets)
