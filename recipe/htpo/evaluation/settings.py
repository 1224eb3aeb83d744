# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of an evaluation: `key=value` of the command line, validated, and the record of what made a file."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipe.htpo.verifier.reward_config import split_options

FREE = ("out", "against", "replicas")
"""What may differ between two starts of one evaluation: it changes no response."""
ENGINE = ("model", "dtype", "seed", "max_model_len", "tensor_parallel_size", "gpu_memory_utilization", "enforce_eager")
"""Arguments of vLLM that are set here; the others come through `vllm.NAME=VALUE`."""


TEXTS = ("out", "against", "chat_template", "dtype")
"""Settings that are text."""


class SettingsError(ValueError):
    """A setting that cannot be meant: its name, what is wrong, and what to do."""

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        super().__init__(f"{name}: {problem}. Remedy: {remedy}")


@dataclass(frozen=True, kw_only=True)
class EvalSettings:
    """What is evaluated and how. Raises SettingsError for a value that cannot be meant."""

    model: str
    """Directory of a Hugging Face model, a checkpoint of verl, the directory of a run, or a name on the hub."""
    data: tuple[str, ...]
    """Parquet files as verl reads them (`data_prep build` writes such)."""
    out: str = ""
    """Directory of the results; by default outputs/eval/NAME-OF-MODEL."""
    against: str = ""
    """A second model, evaluated on the same prompts: the model before training."""
    n: int = 32
    """Samples of each prompt."""
    temperature: float = 1.0
    """Of sampling; 0 is greedy and needs n=1."""
    top_p: float = 1.0
    """Nucleus."""
    top_k: int = -1
    """Most likely tokens that are sampled from; -1 is all."""
    max_tokens: int = 4096
    """Longest response, in tokens; a longer one is cut."""
    seed: int = 0
    """Of sampling. Each prompt has its own generator, so that a response does not depend on the other prompts."""
    prompts: int | None = None
    """Only the first so many prompts of each file."""
    chunk: int = 32
    """Prompts that are generated together, and lost when the evaluation is killed."""
    chat_template: str = ""
    """File with a chat template, for a model that has none."""
    chat: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the chat template, such as chat.enable_thinking=false."""
    replicas: int | None = None
    """Copies of the model, over Ray; by default one for each `tensor_parallel_size` accelerators, and one on a CPU."""
    tensor_parallel_size: int = 1
    """Accelerators of one copy."""
    dtype: str = "auto"
    """Of weights and arithmetic; auto is the model's own, and float32 on a CPU."""
    gpu_memory_utilization: float = 0.9
    """Share of an accelerator's memory that vLLM takes."""
    vllm: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of vLLM's LLM, such as vllm.max_num_seqs=512."""
    reward: Mapping[str, Any] = field(default_factory=dict)
    """Options of the verifier, such as reward.grader=math_dapo."""

    def __post_init__(self) -> None:
        for setting in fields(self):
            self._require_type(setting.name, getattr(self, setting.name), setting.type)
        if not self.data:
            raise SettingsError("data", "no file given", "name one or more parquet files after the model")
        for name in ("n", "max_tokens", "chunk", "tensor_parallel_size", "replicas", "prompts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(name, f"{value} is not positive", "give a positive integer")
        if not 0 <= self.temperature < math.inf:
            problem = f"{self.temperature} is negative, or no finite number"
            raise SettingsError("temperature", problem, "0 is greedy, 1 samples the model")
        if not 0 <= self.seed < 2**32:
            raise SettingsError("seed", f"{self.seed} is no 32-bit number", "give one within 0 and 4294967295")
        if self.temperature == 0 and self.n > 1:
            raise SettingsError("n", f"temperature=0 gives the same response {self.n} times", "set n=1")
        if not 0 < self.top_p <= 1:
            raise SettingsError("top_p", f"{self.top_p} is not within 0 and 1", "1 keeps the whole distribution")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise SettingsError("gpu_memory_utilization", f"{self.gpu_memory_utilization} is no share", "try 0.9")
        if self.top_k != -1 and self.top_k < 1:
            raise SettingsError("top_k", f"{self.top_k} is no number of tokens", "-1 keeps all of them")
        for name in ENGINE:
            if name in self.vllm:
                remedy = f"use {name}=..." if name in {f.name for f in fields(self)} else "leave it out"
                raise SettingsError(f"vllm.{name}", "is set by the evaluation itself", remedy)
        try:
            split_options(self.reward)
        except ValueError as error:
            raise SettingsError("reward", str(error), "see recipe/htpo/verifier/config.py") from error

    @staticmethod
    def _require_type(name: str, value: Any, annotation: Any) -> None:
        wanted: Any = {str: str, int: int, float: int | float, int | None: int | None}.get(annotation)
        if wanted is not None and (not isinstance(value, wanted) or isinstance(value, bool)):
            raise SettingsError(
                name, f"{value!r} is no {getattr(annotation, '__name__', annotation)}", "see docs/evaluation.md"
            )
        if annotation == Mapping[str, Any] and not isinstance(value, Mapping):
            raise SettingsError(name, f"{value!r} is no group of settings", f"write {name}.NAME=VALUE")

    def record(self) -> dict[str, Any]:
        """What decides the responses and verdicts, apart from the contents of model and data."""
        return {name: value for name, value in asdict(self).items() if name not in (*FREE, "model", "data")}

    @property
    def directory(self) -> Path:
        """Where the results lie."""
        return Path(self.out or f"outputs/eval/{Path(self.model.rstrip('/')).name}")


def is_setting(argument: str) -> bool:
    """Whether it is `key=value`; a path, too, may have an equals sign (`split=test/x.parquet`)."""
    name, found, _ = argument.partition("=")
    known = name.split(".")[0] in {setting.name for setting in fields(EvalSettings)}
    return bool(found) and (known or not ("/" in name or Path(argument).exists()))


def parse(arguments: Sequence[str]) -> EvalSettings:
    """From `MODEL DATA... key=value...`; raises SettingsError naming an unknown key and the nearest known one."""
    places = [argument for argument in arguments if not is_setting(argument)]
    if not places:
        raise SettingsError("model", "no model given", "bash scripts/eval.sh MODEL DATA... [n=32 ...]")
    # Texts stay as they are: YAML would read `out=007` as 7, `out=1e3` as 1000.0, and `against=` as None.
    pairs = [argument.partition("=") for argument in arguments if is_setting(argument)]
    texts = {name: text for name, _, text in pairs if name in TEXTS}
    try:
        others = [f"{name}={text}" for name, _, text in pairs if name not in TEXTS]
        given: Any = OmegaConf.to_container(OmegaConf.from_dotlist(others))
    except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise SettingsError("settings", str(error).split("\n")[0], "write key=value") from error
    given |= texts
    known = [setting.name for setting in fields(EvalSettings) if setting.name not in ("model", "data")]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
            raise SettingsError(name, "is no setting of an evaluation", remedy)
    return EvalSettings(model=places[0], data=tuple(places[1:]), **given)
