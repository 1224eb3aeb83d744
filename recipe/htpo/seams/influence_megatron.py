# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's Megatron engine with the scores of THR and NTHR: tensor, sequence, pipeline and context parallel."""

from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state as mpu
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from tensordict import TensorDict
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from verl.utils.megatron_utils import unwrap_model
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.megatron.transformer_impl import MegatronEngineWithLMHead

from recipe.htpo.seams.engine_beat import EngineBeat
from recipe.htpo.seams.head_inputs import PART, HeadInputs
from recipe.htpo.seams.influence import MODEL_TYPE, InfluencePass, Ranks

_SLOTS = "htpo_slots"


@EngineRegistry.register(model_type=MODEL_TYPE, backend="megatron")
class InfluenceMegatronEngine(EngineBeat, InfluencePass, MegatronEngineWithLMHead):
    """verl's Megatron engine, its heartbeat, and the scores."""

    def _watch_head(self, inputs: HeadInputs) -> RemovableHandle | None:
        if self.engine_config.dynamic_context_parallel or self.model_config.mtp.enable:
            raise NotImplementedError(
                "scores are not made with dynamic context parallelism or multi-token prediction; set "
                "megatron.dynamic_context_parallel=False and model.mtp.enable=False"
            )
        model = unwrap_model(self.module[-1])
        if not model.post_process:
            return None
        layer = model.output_layer

        def give(module: torch.nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Any]) -> None:
            hidden = arguments[0] if arguments else named["input_"]
            weight = named.get("weight")
            if layer.sequence_parallel:
                hidden = gather_from_sequence_parallel_region(hidden.detach(), tensor_parallel_output_grad=False)
            # [S, B, d], and verl's per-token outputs are [B, S].
            hidden = hidden.transpose(0, 1).flatten(0, 1)
            inputs.give(hidden, layer.weight if weight is None else weight, keep=False)

        return layer.register_forward_pre_hook(give, with_kwargs=True)

    def _ranks(self) -> Ranks:
        return Ranks(
            data=mpu.get_data_parallel_group(),
            sequence=_several(mpu.get_context_parallel_group()),
            tokens=mpu.get_data_parallel_group(with_context_parallel=True),
            vocabulary=_several(mpu.get_tensor_model_parallel_group()),
        )

    def _first_row(self) -> int:
        rows = unwrap_model(self.module[-1]).output_layer.output_size_per_partition
        return mpu.get_tensor_model_parallel_rank() * rows

    def _lm_head_logits_processor(self, logits: Tensor, label: Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        output = super()._lm_head_logits_processor(logits, label, *args, **kwargs)
        if self._inputs is not None:
            slots = torch.arange(label.numel(), device=label.device).view(label.shape)
            output[_SLOTS] = slots + PART * self._ranks().part
        return output

    def prepare_model_outputs(self, output: dict[str, Tensor], data: TensorDict) -> dict[str, Tensor]:
        # verl has brought the slots into the order of the tokens, over context-parallel ranks too.
        if self._inputs is not None:
            self._inputs.take(data, output.pop(_SLOTS))
        return super().prepare_model_outputs(output, data)


def _several(group: dist.ProcessGroup) -> dist.ProcessGroup | None:
    return group if dist.get_world_size(group) > 1 else None
