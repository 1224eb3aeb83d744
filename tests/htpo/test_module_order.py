# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Data flows one way: a module imports from modules below it only. What people start stands at the top."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "recipe" / "htpo"

# From the bottom up: a name may import from those before it.
ORDER = (
    "problem",
    "import_hooks",
    "dotted",
    "pictures",
    "objective",
    "evaluation",
    "run",
    "inspect",
    "config",
    "verifier",
    "tasks",
    "scorers",
    "reward",
    "verify",
    "cpu",
    "seams",
    "preflight",
    "lab",
    "compare",
    "main_htpo",
)
# Modules of a package's own command, which stands above all: only the package itself reads them.
COMMANDS = {"evaluation": ("engine", "prompts", "run", "settings")}
# What `python -m recipe.htpo.NAME` starts, or verl calls.
ENTRY_POINTS = ("main_htpo", "verify", "reward", "preflight", "lab", "evaluation", "inspect", "compare")


def imports(path: Path) -> set[str]:
    """Names directly below `recipe.htpo` that a file imports, inside functions as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "recipe.htpo":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").removeprefix("recipe.htpo.").split(".")[0]} & set(ORDER)
        elif isinstance(node, ast.Import):
            modules = [alias.name.split(".") for alias in node.names if alias.name.startswith("recipe.htpo.")]
            found |= {parts[2] for parts in modules}
    return found


def names() -> set[str]:
    """Modules and packages directly below `recipe.htpo`."""
    below = [path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    return {path.stem for path in below} - {"__init__"}


def test_every_module_has_its_place():
    assert names() == set(ORDER) and len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("name", ORDER)
def test_no_module_reads_upward(name):
    path = PACKAGE / f"{name}.py"
    files = [path] if path.is_file() else sorted((PACKAGE / name).rglob("*.py"))
    files = [file for file in files if file.stem not in COMMANDS.get(name, ())]
    below = {*ORDER[: ORDER.index(name)], name}
    upward = {(str(file.relative_to(PACKAGE)), read) for file in files for read in imports(file) - below}
    assert not upward


@pytest.mark.parametrize("package", COMMANDS)
def test_nobody_else_reads_the_modules_of_a_command(package):
    others = [file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] != package]
    for module in COMMANDS[package]:
        assert (PACKAGE / package / f"{module}.py").is_file()
        pattern = re.compile(rf"recipe\.htpo\.{package}\.{module}\b|from recipe\.htpo\.{package} import .*\b{module}\b")
        assert not [file for file in others if pattern.search(file.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_is_one(name):
    path = PACKAGE / f"{name}.py"
    text = (path if path.is_file() else PACKAGE / name / "__main__.py").read_text(encoding="utf-8")
    assert "def compute_score(" in text if name == "reward" else '__name__ == "__main__"' in text or "main()" in text


def test_the_table_of_what_can_be_started_is_the_tree():
    """Modules with an argument parser or Hydra's, and packages that are one; `reward.py` is named beside them."""
    files = [file for top in (PACKAGE, ROOT / "data_prep") for file in top.rglob("*.py")]
    # A child process of the verifier reads no command line.
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for file in files
        if '__name__ == "__main__"' in file.read_text(encoding="utf-8") and file.name != "child.py"
    }
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `python -m (\S+)` \|", text, re.MULTILINE)) == modules
    assert set(ENTRY_POINTS) - {"reward"} <= {module.removeprefix("recipe.htpo.") for module in modules}


def test_the_map_in_the_readme_is_the_tree():
    """It names every package of the recipe and every other folder at the top, and nothing that is not there."""
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    folders = {Path(line).parts[:-1] for line in tracked}
    packages = {"/".join(parts[:3]) for parts in folders if len(parts) > 2 and parts[0] == "recipe"}
    others = {parts[0] for parts in folders if parts and not parts[0].startswith(".")} - {"recipe"}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("| where | what |") :].split("\n\n")[0]
    named = re.findall(r"`([^`]+)/`", "".join(line.split("|")[1] for line in table.splitlines()[2:]))
    assert sorted(named) == sorted(packages | others)
