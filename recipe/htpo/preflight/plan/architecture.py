# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The shape of a model: from its directory, or from a table of the Qwen3 sizes that the layouts are for.

The table makes a dry run possible on a machine that has neither the model nor a network.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig


class UnknownArchitectureError(ValueError):
    """The shape of the model cannot be known here; the message says why."""


@dataclass(frozen=True)
class Architecture:
    """A decoder with grouped-query attention and a gated MLP, dense or of experts; sizes as in its config.json."""

    name: str
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    intermediate_size: int
    head_dim: int = 128
    vocab_size: int = 151936
    tied_embeddings: bool = False
    max_positions: int = 40960
    num_experts: int = 0
    experts_per_token: int = 0
    moe_intermediate_size: int = 0
    qkv_bias: bool = False
    qk_norm: bool = True

    @property
    def query_size(self) -> int:
        """Features of all query heads."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Features of all key heads; of all value heads too."""
        return self.num_kv_heads * self.head_dim

    @property
    def embedding_parameters(self) -> int:
        """The token embedding; an output layer that is not tied to it has as many."""
        return self.vocab_size * self.hidden_size

    @property
    def attention_parameters(self) -> int:
        """Query, key, value and output projections of one layer, with biases and norms of queries and keys."""
        projections = self.hidden_size * (2 * self.query_size + 2 * self.kv_size)
        biases = self.query_size + 2 * self.kv_size if self.qkv_bias else 0
        return projections + biases + (2 * self.head_dim if self.qk_norm else 0)

    @property
    def mlp_parameters(self) -> int:
        """The part of one layer's MLP that every token passes: gate, up and down, or the router."""
        if self.num_experts:
            return self.hidden_size * self.num_experts
        return 3 * self.hidden_size * self.intermediate_size

    @property
    def expert_parameters(self) -> int:
        """All experts of one layer."""
        return self.num_experts * 3 * self.hidden_size * self.moe_intermediate_size

    @property
    def layer_parameters(self) -> int:
        """One layer, with its two norms."""
        return self.attention_parameters + self.mlp_parameters + self.expert_parameters + 2 * self.hidden_size

    @property
    def parameters(self) -> int:
        """All parameters; tied embeddings count once."""
        embeddings = self.embedding_parameters * (1 if self.tied_embeddings else 2)
        return embeddings + self.num_layers * self.layer_parameters + self.hidden_size


# config.json of https://huggingface.co/Qwen/Qwen3-*; the -Base models differ in max_position_embeddings only (32768).
QWEN3 = {
    shape.name: shape
    for shape in (
        Architecture("Qwen3-0.6B", 1024, 28, 16, 8, 3072, tied_embeddings=True),
        Architecture("Qwen3-1.7B", 2048, 28, 16, 8, 6144, tied_embeddings=True),
        Architecture("Qwen3-4B", 2560, 36, 32, 8, 9728, tied_embeddings=True),
        Architecture("Qwen3-8B", 4096, 36, 32, 8, 12288),
        Architecture("Qwen3-14B", 5120, 40, 40, 8, 17408),
        Architecture("Qwen3-32B", 5120, 64, 64, 8, 25600),
        Architecture(
            "Qwen3-30B-A3B",
            2048,
            48,
            32,
            4,
            6144,
            num_experts=128,
            experts_per_token=8,
            moe_intermediate_size=768,
        ),
    )
}
BASE_POSITIONS = 32768

MODEL_TYPES = ("qwen2", "qwen3", "qwen3_moe")


def find_architecture(path: str) -> Architecture:
    """The shape of the model at `path`: a directory, one of the Qwen3 names, or a name in the Hugging Face cache.

    Raises:
        UnknownArchitectureError: the directory has no usable config.json, or the name is not known here.
    """
    return _qwen3(path) or from_model_config(Path(path).name, _model_config(path))


def known_architecture(config: DictConfig) -> Architecture | None:
    """The shape of the configuration's model; None where it has no model yet, or the shape is unknown."""
    path = config.actor_rollout_ref.model.path
    try:
        return None if path is None else find_architecture(str(path))
    except UnknownArchitectureError:
        return None


def known_positions(config: DictConfig) -> int | None:
    """Positions of the configuration's model, of whatever type it is; None where they are unknown."""
    path = config.actor_rollout_ref.model.path
    if path is None:
        return None
    shape = _qwen3(str(path))
    if shape is not None:
        return shape.max_positions
    try:
        return getattr(_model_config(str(path)), "max_position_embeddings", None)
    except UnknownArchitectureError:
        return None


def _qwen3(path: str) -> Architecture | None:
    """The table's entry for a name, or for a directory of that name that is not on this machine."""
    directory = Path(path).expanduser()
    shape = None if directory.is_dir() else QWEN3.get(directory.name.removesuffix("-Base"))
    if shape is None or not directory.name.endswith("-Base"):
        return shape
    return replace(shape, name=directory.name, max_positions=BASE_POSITIONS)


def _model_config(path: str) -> Any:
    from transformers import AutoConfig

    directory = Path(path).expanduser()
    try:
        return AutoConfig.from_pretrained(str(directory) if directory.is_dir() else path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UnknownArchitectureError(f"no model is to be found at {path} on this machine") from error


def from_model_config(name: str, model_config: Any) -> Architecture:
    """The shape that a Transformers configuration describes.

    Raises:
        UnknownArchitectureError: a model type other than `MODEL_TYPES`, or dense layers between layers of experts.
    """
    if model_config.model_type not in MODEL_TYPES:
        raise UnknownArchitectureError(
            f"{name} is of type {model_config.model_type}, known are {', '.join(MODEL_TYPES)}"
        )
    experts = {}
    if model_config.model_type == "qwen3_moe":
        if model_config.mlp_only_layers or model_config.decoder_sparse_step != 1:
            raise UnknownArchitectureError(f"{name} has dense layers between its layers of experts")
        experts = {
            "num_experts": model_config.num_experts,
            "experts_per_token": model_config.num_experts_per_tok,
            "moe_intermediate_size": model_config.moe_intermediate_size,
        }
    heads = model_config.num_attention_heads
    return Architecture(
        name=name,
        hidden_size=model_config.hidden_size,
        num_layers=model_config.num_hidden_layers,
        num_heads=heads,
        num_kv_heads=model_config.num_key_value_heads,
        intermediate_size=model_config.intermediate_size,
        head_dim=getattr(model_config, "head_dim", None) or model_config.hidden_size // heads,
        vocab_size=model_config.vocab_size,
        tied_embeddings=model_config.tie_word_embeddings,
        max_positions=model_config.max_position_embeddings,
        qkv_bias=model_config.model_type == "qwen2",
        qk_norm=model_config.model_type != "qwen2",
        **experts,
    )
