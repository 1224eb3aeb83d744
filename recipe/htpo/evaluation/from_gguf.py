# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Make a Hugging Face directory of a model in GGUF, once: `python -m recipe.htpo.evaluation.from_gguf FILE OUT`.

FILE is a path, or PACKAGE:NAME for a file that an installed Python package carries. Quantised weights are written as
float32. Needs the package gguf.
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from recipe.htpo.evaluation.settings import SettingsError


def convert(file: Path, out: Path) -> None:
    """Weights, configuration, tokenizer and chat template of `file` into the directory `out`, whole or not at all."""
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    # transformers reads the special tokens of the configuration, and for the tokenizer takes the first one for all.
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        number = getattr(model.config, f"{name}_id", None)
        if number is not None:
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(number))
    tokenizer.clean_up_tokenization_spaces = False
    partial = out.with_name(f".{out.name}.partial")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.replace(out)


def find(name: str) -> Path:
    """The file behind a path or PACKAGE:NAME; raises SettingsError where there is none."""
    path = Path(name)
    if path.is_file():
        return path
    package, _, file = name.partition(":")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    places = [Path(place) / file for place in (spec.submodule_search_locations or ())] if spec and file else []
    if not places or not places[0].is_file():
        raise SettingsError("FILE", f"{name} is no file", "give a path or PACKAGE:NAME of an installed package")
    return places[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Convert; a directory that is there is left as it is."""
    parser = argparse.ArgumentParser(prog="python -m recipe.htpo.evaluation.from_gguf", description=__doc__)
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("out", type=Path, metavar="OUT")
    arguments = parser.parse_args(argv)
    if arguments.out.exists():
        print(f"{arguments.out} is there")
        return 0
    try:
        file = find(arguments.file)
        try:
            convert(file, arguments.out)
        except (OSError, ValueError) as error:
            problem = f"{file} cannot be converted into {arguments.out} ({error})"
            raise SettingsError("FILE", problem, "give a whole file of a model that transformers knows") from error
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.out}: written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
