# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Token scores of THR and NTHR, and margins for Intuitor, from the old policy's forward pass, in verl's engines.

`InfluencePass` is mixed in before one of verl's engine classes (`influence_fsdp`, `influence_megatron`). Where the
trainer asks for scores, it keeps what the LM head is given for the response tokens of mixed prompts, in host memory,
while verl computes log-probabilities and entropy, and scores prompt after prompt when the pass is over. Every other
pass is verl's own.

A prompt's responses may stand on any data-parallel ranks: the matrix M of its scores is summed over them. All ranks of
a data-parallel group go through the same prompts in the same order, whether they hold tokens of them or not. Margins
are a token's own, and made of all counted responses.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from tensordict import TensorDict
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from verl.utils import tensordict_utils as tu

from recipe.htpo.objective.weights import PromptTokens, Reductions, influence_scores, token_margins
from recipe.htpo.seams.head_inputs import ROW_FIELD, HeadInputs, Taken

if TYPE_CHECKING:
    from verl.workers.engine.base import BaseEngine as _Engine
else:
    # The trainer, which reads the names of the fields here, needs no engine.
    _Engine = object

MODEL_TYPE = "htpo_language_model"
"""Under which verl's engine registry has HTPO's engines (`actor_rollout_ref.model.model_type`)."""

# What the trainer sends along: the non-tensor `WeightConfig.score_options` (without them, the pass is verl's own), and
# per row the prompt (-1: not counted) and the verdict.
OPTIONS = "htpo_score_options"
PROMPT_FIELD = "htpo_prompt"
CORRECT_FIELD = "htpo_correct"

# What it gets back: fp32 scores or margins, jagged over response tokens, the rows' anchors, and the seconds it took.
SCORE_FIELD = "htpo_score"
MARGIN_FIELD = "htpo_margin"
ANCHOR_FIELD = "htpo_anchor"
SECONDS_FIELD = "htpo_score_seconds"


@dataclass(frozen=True)
class Ranks:
    """The process groups of the pass; None where there is only one process in it."""

    data: dist.ProcessGroup | None
    """Ranks with other responses."""
    sequence: dist.ProcessGroup | None
    """Ranks with other tokens of the same responses: context parallel, Ulysses."""
    tokens: dist.ProcessGroup | None
    """Both of these."""
    vocabulary: dist.ProcessGroup | None = None
    """Ranks with other rows of the LM head."""

    @property
    def part(self) -> int:
        """Which part of a sequence this rank has."""
        return 0 if self.sequence is None else dist.get_rank(self.sequence)


class GroupReductions(Reductions):
    """Reductions over process groups."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def vocab_max(self, value: Tensor) -> Tensor:
        # The caller goes on with its own maximum.
        return _reduced(value.clone(), self._ranks.vocabulary, dist.ReduceOp.MAX)

    def vocab_sum(self, value: Tensor) -> Tensor:
        return _reduced(value.clone(), self._ranks.vocabulary)

    def token_sum(self, value: Tensor) -> Tensor:
        return _reduced(value, self._ranks.tokens)


def _reduced(value: Tensor, group: dist.ProcessGroup | None, op: Any = dist.ReduceOp.SUM) -> Tensor:
    """In place where it can be. gloo silently corrupts tensors that are not contiguous."""
    if group is not None:
        value = value.contiguous()
        dist.all_reduce(value, op, group=group)
    return value


@dataclass(frozen=True)
class MixedPrompts:
    """The prompts of a batch that have correct and wrong responses, as seen from one rank."""

    correct: list[Tensor]
    """Per prompt `[G]` bool, verdicts of its non-empty responses on all ranks."""
    prompt: Tensor
    """`[B]` int64, place of a row's prompt in `correct`; -1 for rows of other prompts and rows that do not count."""
    response: Tensor
    """`[B]` int64, place of the row among its prompt's responses."""

    @classmethod
    def agree(
        cls, prompt: Tensor, correct: Tensor, length: Tensor, group: dist.ProcessGroup | None = None
    ) -> "MixedPrompts":
        """Exchange what the data-parallel ranks know.

        Args:
            prompt: `[B]` int64, the same number for a prompt on all ranks; below 0 for rows that do not count.
            correct: `[B]` bool.
            length: `[B]` int64 valid tokens; rows without any do not count.
            group: the data-parallel ranks.
        """
        counted = torch.where(length > 0, prompt, -1)
        mine = list(zip(counted.tolist(), correct.tolist(), strict=True))
        everyone = [mine]
        if group is not None:
            everyone = [[] for _ in range(dist.get_world_size(group))]
            dist.all_gather_object(everyone, mine, group=group)
        rank = 0 if group is None else dist.get_rank(group)
        members: dict[int, list[bool]] = {}
        response = torch.full_like(prompt, -1)
        for owner, rows in enumerate(everyone):
            for row, (number, verdict) in enumerate(rows):
                if number >= 0:
                    verdicts = members.setdefault(number, [])
                    if owner == rank:
                        response[row] = len(verdicts)
                    verdicts.append(verdict)
        mixed = sorted(number for number, verdicts in members.items() if len(set(verdicts)) == 2)
        place = {number: index for index, number in enumerate(mixed)}
        return cls(
            [torch.tensor(members[number]) for number in mixed],
            torch.tensor([place.get(number, -1) for number in counted.tolist()], dtype=torch.int64),
            response,
        )


class Scores:
    """Influence scores of mixed prompts: the fields `SCORE_FIELD` and `ANCHOR_FIELD`."""

    def __init__(self, prompts: MixedPrompts, options: Mapping[str, Any]) -> None:
        self._prompts, self._options = prompts, options
        self.wanted = prompts.prompt >= 0
        """`[B]` bool, rows whose tokens are needed."""

    @torch.no_grad()
    def fields(self, taken: Taken, offsets: Tensor, ranks: Ranks) -> dict[str, Tensor]:
        """Scores `[tokens]` of all response tokens and anchors `[B]`, both fp32; 0 and NaN where there is no score.

        The same on all ranks with these rows.

        Args:
            taken: the tokens of `wanted` rows on this rank.
            offsets: `[B + 1]` int64, where the responses begin and the last one ends.
            ranks: the process groups.
        """
        scores = torch.zeros(int(offsets[-1]), dtype=torch.float32)
        anchors = torch.full((len(offsets) - 1,), torch.nan, dtype=torch.float32)
        device = taken.head.weight.device
        prompt = self._prompts.prompt[taken.row]
        by_prompt = prompt.argsort(stable=True).split(
            torch.bincount(prompt, minlength=len(self._prompts.correct)).tolist()
        )
        for index, (correct, tokens) in enumerate(zip(self._prompts.correct, by_prompt, strict=True)):
            row = taken.row[tokens]
            of_prompt = PromptTokens(
                taken.hidden[tokens].to(device),
                taken.token[tokens].to(device),
                self._prompts.response[row].to(device),
                correct.to(device),
            )
            with _tensor_cores(taken.hidden.dtype):
                result = influence_scores(of_prompt, taken.head, reductions=GroupReductions(ranks), **self._options)
            scores[offsets[row] + taken.place[tokens]] = result.score.float().cpu()
            here = (self._prompts.prompt == index).nonzero()[:, 0]
            anchors[here] = result.anchor.float().cpu()[self._prompts.response[here]]
        return {SCORE_FIELD: _reduced(scores.to(device), ranks.sequence).cpu(), ANCHOR_FIELD: anchors}


class Margins:
    """`token_margins` of the wanted rows: the field `MARGIN_FIELD`."""

    def __init__(self, wanted: Tensor) -> None:
        self.wanted = wanted

    def fields(self, taken: Taken, offsets: Tensor, ranks: Ranks) -> dict[str, Tensor]:
        """Margins `[tokens]` of all response tokens, fp32; 0 in unwanted rows. The arguments are those of `Scores`."""
        device = taken.head.weight.device
        margins = torch.zeros(int(offsets[-1]), dtype=torch.float32)
        made = token_margins(
            taken.hidden.to(device), taken.token.to(device), taken.head, reductions=GroupReductions(ranks)
        )
        margins[offsets[taken.row] + taken.place] = made.float().cpu()
        return {MARGIN_FIELD: _reduced(margins.to(device), ranks.sequence).cpu()}


class InfluencePass(_Engine):
    """Mixed in before an engine class, which says where its LM head is and which ranks share the work."""

    _inputs: HeadInputs | None = None

    def __init__(self, model_config: Any, *args: Any, **kwargs: Any) -> None:
        # The name has chosen the class; to the rest of verl this is a language model (fsdp/transformer_impl.py:293).
        model_config.model_type = "language_model"
        super().__init__(model_config, *args, **kwargs)  # type: ignore[call-arg]

    def infer_batch(self, data: TensorDict, loss_function: Any = None) -> Any:
        """verl's forward pass; with `OPTIONS` in the data its model output also has the scores."""
        options = tu.pop(data, OPTIONS, default=None)
        if options is None:
            return super().infer_batch(data, loss_function)
        _refuse_fused(data)
        ranks, mask = self._ranks(), data["response_mask"]
        row = torch.arange(len(data)).repeat_interleave(mask.offsets().diff())
        length = torch.zeros(len(data), dtype=torch.int64).index_add_(0, row, (mask.values() > 0).long())
        made_of: Scores | Margins
        if "margins" in options:
            made_of = Margins((data[PROMPT_FIELD] >= 0) & (length > 0))
        else:
            prompts = MixedPrompts.agree(data[PROMPT_FIELD], data[CORRECT_FIELD], length, ranks.data)
            made_of = Scores(prompts, options)
        data[ROW_FIELD] = torch.arange(len(data))
        with self._collecting(HeadInputs(made_of.wanted, ranks.part)) as inputs:
            output = super().infer_batch(data, loss_function)
        if inputs is None:
            return output
        started = time.perf_counter()
        taken = inputs.taken(self._first_row(), float(data["temperature"]))
        fields = made_of.fields(taken, mask.offsets().cpu(), ranks)
        output["model_output"] |= {
            name: values if name == ANCHOR_FIELD else torch.nested.nested_tensor_from_jagged(values, mask.offsets())
            for name, values in fields.items()
        }
        output["model_output"][SECONDS_FIELD] = torch.full((len(data),), time.perf_counter() - started)
        return output

    @contextmanager
    def _collecting(self, inputs: HeadInputs) -> Iterator[HeadInputs | None]:
        """Collects inside the context; yields None on ranks without an LM head."""
        handle = self._watch_head(inputs)
        self._inputs = inputs if handle is not None else None
        try:
            yield self._inputs
        finally:
            self._inputs = None
            if handle is not None:
                handle.remove()

    def _watch_head(self, inputs: HeadInputs) -> RemovableHandle | None:
        """Have `inputs.give` called at the LM head; None where this rank has none."""
        raise NotImplementedError

    def _ranks(self) -> Ranks:
        raise NotImplementedError

    def _first_row(self) -> int:
        """Vocabulary id of the first row of this rank's LM head."""
        return 0


@contextmanager
def _tensor_cores(dtype: torch.dtype) -> Iterator[None]:
    """Allow TF32 products of fp32 tensors on NVIDIA GPUs where the states are bf16: TF32 holds these exactly, so logits
    stay what they are, and only the rounded prediction errors lose bits beyond their own."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = before or dtype == torch.bfloat16
    try:
        yield
    finally:
        matmul.allow_tf32 = before


def _refuse_fused(data: TensorDict) -> None:
    if tu.get(data, "use_fused_kernels", default=False):
        raise NotImplementedError(
            "fused kernels never give the LM head its input as a layer, so there is nothing to score; set "
            "actor_rollout_ref.model.use_fused_kernels=False"
        )
