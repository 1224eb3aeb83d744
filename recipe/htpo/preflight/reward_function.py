# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The reward function: that it is there, and that it knows its options. Otherwise the first response would tell.

Nothing of somebody else's file is run: it is looked at as text.
"""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from recipe.htpo.preflight.settings import REWARD
from recipe.htpo.problem import Problem

FIELD = "reward.custom_reward_function"
# Prefixes of `path` (verl/utils/import_utils.py, load_module).
PACKAGE, FILE = "pkg://", "file://"


def check_reward_options(config: DictConfig) -> Iterator[Problem]:
    """Options that the recipe's own reward does not know, or values that it does not take."""
    from recipe.htpo.verifier.reward_config import split_options

    function = config.reward.custom_reward_function
    if function.path == REWARD:
        try:
            split_options(dict(function.reward_kwargs or {}))
        except ValueError as error:
            yield Problem(f"{FIELD}.reward_kwargs", str(error), "correct it; docs/verifier.md has every option")


def check_reward_function(config: DictConfig) -> Iterator[Problem]:
    """The module or file is there and has the function; without a path verl's own scorers are used."""
    path, name = config.reward.custom_reward_function.path, config.reward.custom_reward_function.name
    if path is None:
        return
    source = _source(str(path))
    if source is None:
        remedy = f"give a file, or {PACKAGE}MODULE; {PACKAGE}recipe.htpo.reward is the recipe's own"
        yield Problem(f"{FIELD}.path", f"there is no {path}", remedy)
        return
    try:
        defined = set(_names(ast.parse(source.read_text(encoding="utf-8"))))
    except (SyntaxError, ValueError) as error:
        yield Problem(f"{FIELD}.path", f"{path} is no Python: {error}", "correct it")
        return
    if name not in defined and "*" not in defined:
        yield Problem(f"{FIELD}.name", f"is {name}, which {path} does not define", "name one of its functions")


def _source(path: str) -> Path | None:
    """The file of a module or file that verl would load."""
    if not path.startswith(PACKAGE):
        file = Path(path.removeprefix(FILE))
        return file if file.is_file() else None
    try:
        spec = importlib.util.find_spec(path.removeprefix(PACKAGE).replace("/", "."))
    # Of a parent that is missing, or an empty name.
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def _names(tree: ast.Module) -> Iterator[str]:
    """What a module's text may define: everything that is bound anywhere outside functions and classes."""
    nodes: list[ast.AST] = list(tree.body)
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        nodes.extend(ast.iter_child_nodes(node))
