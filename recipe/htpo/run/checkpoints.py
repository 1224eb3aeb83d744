# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A run resumes from a whole checkpoint, however it was ended.

verl writes the workers' files, then the state of the data (and of TransferQueue), then the step into
`latest_checkpointed_iteration.txt` (verl/trainer/ppo/v1/trainer_base.py, _save_checkpoint). None of these writes is
atomic, and on resume it trusts the last one: a run killed while that file is open does not start again (the file is
empty), and one whose files were lost with a machine fails in the middle of its start-up.
"""

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from recipe.htpo.problem import Problem
from recipe.htpo.run.metrics_log import recover_saved_step
from recipe.htpo.run.record import recorded_fields, write_atomic

TRACKER = "latest_checkpointed_iteration.txt"
_STEP_DIRECTORY = re.compile(r"global_step_(\d+)")
# Of each rank, under FSDP (verl/utils/checkpoint/fsdp_checkpoint_manager.py).
_FSDP_FILES = {"model": "model", "optimizer": "optim", "extra": "extra_state"}
# Written last, under Megatron (verl/utils/checkpoint/megatron_checkpoint_manager.py).
_MEGATRON_MANIFEST = "ckpt_contents.json"
# What JSON of another text or form gives where it is read; text of another encoding is a ValueError.
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError)


def settle(config: DictConfig) -> list[Problem]:
    """See that the run resumes from a whole checkpoint; where verl would not, name another one to it, with the reason.

    With `trainer.resume_mode=auto` that is the checkpoint that verl's tracker file names or, if that is not whole or
    the file is damaged or missing, the newest whole one. The tracker file is replaced atomically,
    and the record of the step is completed. `resume_path` holds for the run's first start with that path: verl would
    begin at the named step in every start, also after a crash.

    Returns:
        A problem when the run was further than any whole checkpoint, or `resume_path` names one that is not whole or
        is another run's while this one has checkpoints of its own.
    """
    if config.trainer.resume_mode == "resume_path" and (problems := _settle_path(config)):
        return problems
    directory = Path(config.trainer.default_local_dir)
    if config.trainer.resume_mode != "auto" or not directory.is_dir():
        return []
    steps = sorted(_steps(directory), reverse=True)
    tracker = directory / TRACKER
    named = _read(tracker)
    order = [named, *(step for step in steps if step != named)] if named in steps else steps
    for step in order:
        lacking = next(what_is_lacking(directory / f"global_step_{step}", config), None)
        if lacking is None:
            if step != named:
                print(f"resuming from global_step_{step}: {tracker} names {_name(tracker, named)}", flush=True)
                _write(tracker, step)
            recover_saved_step(config.htpo.output_dir, directory / f"global_step_{step}")
            return []
        print(f"not resuming from global_step_{step}: {lacking}", flush=True)
    if named is None:
        # Killed in its first save, if it ever came to one: the run begins anew.
        tracker.unlink(missing_ok=True)
        return []
    return [
        Problem(
            "trainer.default_local_dir",
            f"{tracker} names step {named}, and {directory} holds no whole checkpoint",
            f"restore the files, or begin the run anew: another htpo.output_dir, or remove {directory}",
        )
    ]


def _settle_path(config: DictConfig) -> list[Problem]:
    """Change `resume_mode` to `auto` where the run's own checkpoints are what it goes on from."""
    field = "trainer.resume_from_path"
    path, directory = Path(config.trainer.resume_from_path), Path(config.trainer.default_local_dir)
    steps = list(_steps(directory)) if directory.is_dir() else []
    started_before = recorded_fields(config.htpo.output_dir).get(field) == config.trainer.resume_from_path
    if started_before and any(_is_whole(directory / f"global_step_{step}", config) for step in steps):
        print(
            f"going on with the checkpoints in {directory}: this run was started from {path} before (to go back again, "
            f"write the step into {TRACKER} there)",
            flush=True,
        )
        config.trainer.resume_mode = "auto"
        return []
    if lacking := next(what_is_lacking(path, config), None):
        remedy = "name another checkpoint, or use trainer.resume_mode=auto"
        return [Problem(field, f"{path} is not whole: {lacking}", remedy)]
    if path.resolve().parent == directory.resolve():
        _write(directory / TRACKER, int(path.name.rpartition("_")[2]))
        config.trainer.resume_mode = "auto"
    elif steps and not started_before:
        message = f"{path} is another run's, and {directory} has checkpoints of this one"
        return [Problem(field, message, "choose another htpo.output_dir, or use trainer.resume_mode=auto")]
    return []


def prune(config: DictConfig, keep: int, newest: int) -> None:
    """Remove all but the `keep` newest whole checkpoints up to step `newest`, which has just been written.

    One that is not whole counts for nothing: it goes with the older ones, and stays while it is newer than they are.

    verl's workers remove only what they have written since their start, so every resume would leave its checkpoints
    behind, and of the others the state of the data.
    """
    directory = Path(config.trainer.default_local_dir)
    whole = 0
    for step in sorted((step for step in _steps(directory) if step <= newest), reverse=True):
        checkpoint = directory / f"global_step_{step}"
        if whole >= keep:
            shutil.rmtree(checkpoint, ignore_errors=True)
        elif _is_whole(checkpoint, config):
            whole += 1


def _is_whole(checkpoint: Path, config: DictConfig) -> bool:
    return next(what_is_lacking(checkpoint, config), None) is None


def what_is_lacking(checkpoint: Path, config: DictConfig) -> Iterator[str]:
    """What a checkpoint (`.../global_step_N`) lacks for a resume of the configured run; nothing when it is whole."""
    from verl.trainer.ppo.utils import need_critic

    roles = {"actor": config.actor_rollout_ref.actor}
    if need_critic(config):
        roles["critic"] = config.critic
    world_size = int(config.trainer.nnodes) * int(config.trainer.n_gpus_per_node)
    for role, settings in roles.items():
        if settings.strategy == "megatron":
            together = bool(OmegaConf.select(settings, "megatron.use_megatron_fsdp"))
            yield from _megatron_lacks(checkpoint / role, together)
        else:
            for content in settings.checkpoint.load_contents:
                if content in _FSDP_FILES:
                    for rank in range(world_size):
                        name = f"{_FSDP_FILES[content]}_world_size_{world_size}_rank_{rank}.pt"
                        yield from _torch_file_lacks(checkpoint / role / name)
    yield from _torch_file_lacks(checkpoint / "data.pt")
    if config.trainer.v1.trainer_mode not in ("sync", "htpo_sync") and not (checkpoint / "transfer_queue").is_dir():
        yield f"{checkpoint / 'transfer_queue'} is missing"


def _torch_file_lacks(path: Path) -> Iterator[str]:
    """`torch.save` writes a zip archive; its directory stands at the end."""
    if not path.is_file():
        yield f"{path} is missing"
    elif not zipfile.is_zipfile(path):
        yield f"{path} is cut short"


def _megatron_lacks(role: Path, together: bool) -> Iterator[str]:
    """The manifest names what was saved; weights are in Hugging Face's format, or sharded like the optimiser.

    With an adapter only its shards are written, which have an entry of their own, and Megatron's FSDP writes
    everything to one place, whatever the manifest names.
    """
    manifest = role / _MEGATRON_MANIFEST
    try:
        contents = json.loads(manifest.read_text(encoding="utf-8"))["contents"]
        saved = {
            name: (entry["format"], role / entry["path"])
            for name, entry in contents.items()
            if "peft_adapter_path" not in entry
        }
    except (OSError, *_DAMAGED):
        yield f"{manifest} is missing or damaged"
        return
    if together:
        yield from _sharded_lacks(role / "model" / "dist_ckpt")
        return
    for path in sorted({path for form, path in saved.values() if form == "megatron_dist_checkpoint"}):
        yield from _sharded_lacks(path)
    form, path = saved.get("model", ("", role))
    if form == "huggingface":
        yield from _weights_lack(path)


def _weights_lack(directory: Path) -> Iterator[str]:
    """The safetensors files of a Hugging Face directory: one, or those of its index."""
    from safetensors import SafetensorError, safe_open

    index = directory / "model.safetensors.index.json"
    files = {directory / "model.safetensors"}
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            files = {directory / name for name in weight_map.values()}
        except (OSError, *_DAMAGED):
            yield f"{index} is damaged"
            return
    for file in sorted(files):
        try:
            safe_open(file, framework="pt")
        except FileNotFoundError:
            yield f"{file} is missing"
        except SafetensorError as error:
            yield f"{file} is cut short ({error})"


def _sharded_lacks(directory: Path) -> Iterator[str]:
    """A directory of torch's distributed checkpoint: its metadata has place and length of every shard."""
    from torch.distributed.checkpoint import FileSystemReader

    ends: dict[str, int] = {}
    try:
        for shard in FileSystemReader(directory).read_metadata().storage_data.values():
            ends[shard.relative_path] = max(ends.get(shard.relative_path, 0), shard.offset + shard.length)
    # Whatever a damaged pickle gives.
    except Exception as error:
        yield f"{directory}: its .metadata cannot be read ({error})"
        return
    for name, end in sorted(ends.items()):
        file = directory / name
        if not file.is_file():
            yield f"{file} is missing"
        elif file.stat().st_size < end:
            yield f"{file} is cut short"


def _steps(directory: Path) -> Iterator[int]:
    for path in directory.iterdir():
        match = _STEP_DIRECTORY.fullmatch(path.name)
        if match and path.is_dir():
            yield int(match[1])


def _read(tracker: Path) -> int | None:
    """The step in the tracker file; None where there is no file or no number in it."""
    if not tracker.is_file():
        return None
    text = tracker.read_text(encoding="utf-8", errors="replace").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _write(tracker: Path, step: int) -> None:
    write_atomic(tracker, str(step).encode())


def _name(tracker: Path, step: int | None) -> str:
    if step is not None:
        return f"step {step}"
    return "no step" if tracker.exists() else "nothing (it is missing)"
