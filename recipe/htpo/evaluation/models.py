# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The Hugging Face directory behind a model's name: itself, or what verl's merger makes of a checkpoint."""

import difflib
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from recipe.htpo.evaluation.settings import SettingsError

TRACKER = "latest_checkpointed_iteration.txt"
WEIGHTS = ("*.safetensors", "*.bin")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_EDGE = 2**20
_SHARDS_FILE = "shards.digest"
"""In a merged model: of which shards it was made."""


def model_directory(model: str, scratch: Path) -> str:
    """Where vLLM finds `model`.

    A directory of a Hugging Face model is returned as it is, and so is the one that a checkpoint of verl carries
    (`hf_model` among its contents, or the Megatron engine with a bridge). Of another checkpoint, of either engine, the
    shards are merged into `scratch`, again where they have changed since. Of a run it is the last checkpoint. What is
    no path is a name on the hub.

    Raises:
        SettingsError: nothing there is a model.
    """
    path = Path(model)
    if not path.exists():
        if _HUB_NAME.fullmatch(model):
            return model
        raise SettingsError("model", f"no such directory: {model}", "give a model, a checkpoint or a name on the hub")
    if _is_whole(path):
        return str(path)
    actor = _actor(path)
    for place in (actor / "huggingface", actor / "model" / "huggingface"):
        if _is_whole(place):
            return str(place)
    if (actor / "fsdp_config.json").is_file():
        return str(_merged(actor, "fsdp", sorted(actor.glob("model_world_size_*.pt")), scratch))
    if (shards := actor / "model" / "dist_ckpt").is_dir():
        return str(_merged(actor, "megatron", sorted(shards.iterdir()), scratch))
    raise SettingsError(
        "model",
        f"{path} holds neither a Hugging Face model (config.json and weights) nor a checkpoint of verl",
        "give OUTPUT_DIR of a run, its checkpoints/global_step_N, or the directory of a model",
    )


def load(model: str, directory: str) -> tuple[PreTrainedTokenizerBase, PretrainedConfig]:
    """Tokenizer and configuration of `model`, which `model_directory` found in `directory`.

    Raises:
        SettingsError: it has none, or is no name on the hub either, or vLLM could not find its weights there.
    """
    # vLLM looks for the weights with glob (vllm/model_executor/model_loader/default_loader.py, _prepare_weights).
    if glob.escape(directory) != directory:
        problem = f"{directory} has one of [ * ? in it, which vLLM takes for a pattern"
        raise SettingsError("model", problem, "rename the directory, or give a link to it without them")
    try:
        return AutoTokenizer.from_pretrained(directory), AutoConfig.from_pretrained(directory)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        if Path(directory).exists():
            remedy = "give the directory of a Hugging Face model with its tokenizer"
            raise SettingsError("model", f"{model} cannot be loaded ({why})", remedy) from error
        near = difflib.get_close_matches(model, map(str, Path(model).parent.glob("*")), 1)
        remedy = f"did you mean {near[0]}?" if near else "give a model, a checkpoint or a name on the hub"
        raise SettingsError("model", f"{model} is no directory here, nor on the hub ({why})", remedy) from error


def identity(directory: str) -> dict[str, str]:
    """What tells a model from another with the same name: a digest of its configuration and of its weights."""
    path = Path(directory)
    if not path.is_dir():
        return {"name": directory}
    files = sorted(path.glob("*.json")) + sorted(path.glob("*.jinja")) + _weights(path)
    return {"name": path.resolve().name, "digest": _digest(files)}


def _digest(files: Sequence[Path]) -> str:
    """Of each file the size and the first and last MiB count, so that a model of any size takes a moment."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}\0".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_EDGE))
            stream.seek(max(_EDGE, size - _EDGE))
            digest.update(stream.read())
    return digest.hexdigest()


def _is_whole(path: Path) -> bool:
    return (path / "config.json").is_file() and bool(_weights(path))


def _weights(path: Path) -> list[Path]:
    return sorted(file for pattern in WEIGHTS for file in path.glob(pattern))


def _actor(path: Path) -> Path:
    """The actor's folder of a run, of a checkpoint, or itself."""
    for run in (path / "checkpoints", path):
        tracker = run / TRACKER
        if tracker.is_file():
            path = run / f"global_step_{tracker.read_text(encoding='utf-8').strip()}"
            break
    return path / "actor" if (path / "actor").is_dir() else path


def _merged(actor: Path, backend: str, shards: Sequence[Path], scratch: Path) -> Path:
    target = scratch / f"merged_{hashlib.blake2b(str(actor.resolve()).encode(), digest_size=4).hexdigest()}"
    digest = _digest(shards)
    made_of = target / _SHARDS_FILE
    if made_of.is_file() and made_of.read_text(encoding="utf-8") == digest:
        return target
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", backend]
    command += ["--local_dir", str(actor), "--target_dir", str(partial)]
    environment = dict(os.environ)
    if not torch.cuda.is_available():
        environment["VERL_PLATFORM"] = "cpu"
        command += ["--use_cpu_initialization"]
    print(f"merging the shards of {actor} into {target}", flush=True)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode or not _is_whole(partial):
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise SettingsError("model", f"verl's merger failed on {actor}:\n{tail}", f"run it alone: {' '.join(command)}")
    (partial / _SHARDS_FILE).write_text(digest, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    return target
