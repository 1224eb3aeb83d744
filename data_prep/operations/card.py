# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The card of a published data set: what is in it, from which commit of which source, under which licences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.contract import require_contract
from data_prep.errors import DataError
from data_prep.storage.files import sha256_of
from data_prep.storage.provenance import read_provenance

Recipe = Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """One file as it stands in the repository."""

    path: Path
    """The file on this machine."""
    config: str
    """Configuration on the Hub, which is the folder's name."""
    split: str
    """Split on the Hub, which is the file's name."""
    rows: int
    sha256: str
    recipe: Recipe
    """How the file was made."""

    @property
    def name(self) -> str:
        """Path in the repository."""
        return f"{self.config}/{self.split}.parquet"


def published(paths: Sequence[Path]) -> list[Published]:
    """The files with what their metadata say.

    Raises DataError for a file that data_prep did not make, and for two files of one place in the repository.
    """
    found: dict[str, Published] = {}
    for path in paths:
        rows = require_contract(path)
        provenance = read_provenance(path)
        if provenance is None:
            raise DataError("the file does not say how it was made", file=path, remedy="make it with data_prep")
        folder = path.absolute().parent.name
        file = Published(path, folder, path.stem, rows, sha256_of(path), provenance["recipe"])
        if file.name in found:
            raise DataError(
                f"two files would be {file.name}: {found[file.name].path} and this one",
                file=path,
                remedy="put each into a folder NAME/SPLIT.parquet of its own",
            )
        found[file.name] = file
    return list(found.values())


def builds(recipe: Recipe) -> Iterator[Recipe]:
    """The recipes of ``build`` that a file goes back to: its own, or those of all its inputs."""
    if recipe["command"] == "build":
        yield recipe
    for entry in recipe.get("inputs", ()):
        if entry["made_by"] is not None:
            yield from builds(entry["made_by"]["recipe"])


def unrecorded(recipe: Recipe) -> Iterator[str]:
    """Names of the inputs that gave rows, at any remove, and that data_prep did not make."""
    inputs = recipe.get("inputs", ())
    for entry in inputs[:1] if recipe["command"] == "decontaminate" else inputs:
        if entry["made_by"] is None:
            yield entry["file"]
        else:
            yield from unrecorded(entry["made_by"]["recipe"])


def licences(files: Sequence[Published], stated: str | None) -> list[str]:
    """The licences of all sources, or the one that is stated for them.

    Raises DataError where a source has none, or an input does not say what its sources are, and none is stated.
    """
    if stated:
        return [stated]
    found: set[str] = set()
    for file in files:
        for name in unrecorded(file.recipe):
            raise DataError(
                f"the licence of its input {name} is not known: that file does not say how it was made",
                file=file.path,
                remedy="read it at the source and state it with --licence, or make the input with `build --licence`",
            )
        for recipe in builds(file.recipe):
            if not recipe["licence"]:
                raise DataError(
                    f"the licence of the source {recipe['data_set']!r} is not known",
                    file=file.path,
                    remedy="read it at the source and state it with --licence, or build with --licence",
                )
            found.add(recipe["licence"])
    return sorted(found)


def card(repository: str, files: Sequence[Published], licence: Sequence[str]) -> str:
    """The README.md of the repository."""
    from huggingface_hub import DatasetCardData

    configs: dict[str, list[dict[str, str]]] = {}
    for file in files:
        configs.setdefault(file.config, []).append({"split": file.split, "path": file.name})
    data = DatasetCardData(
        license=licence[0] if len(licence) == 1 else list(licence),
        task_categories=["text-generation"],
        tags=["verl", "reinforcement-learning"],
        configs=[{"config_name": name, "data_files": parts} for name, parts in configs.items()],
    )
    return "\n".join(
        [
            "---",
            data.to_yaml().strip(),
            "---",
            "",
            f"# {repository.rpartition('/')[2]}",
            "",
            "Prompts with ground truths in [verl](https://github.com/verl-project/verl)'s parquet form, written by",
            "verl-htpo's `data_prep`. Each file's metadata hold the full record of how it was made.",
            "",
            "## Files",
            "",
            "| file | rows | made by | template | SHA-256 |",
            "|---|---|---|---|---|",
            *(_file_line(file) for file in files),
            "",
            "## Sources",
            "",
            "| source | licence | pinned at |",
            "|---|---|---|",
            *dict.fromkeys(
                line for file in files for recipe in builds(file.recipe) for line in _source_lines(recipe, licence)
            ),
            *dict.fromkeys(
                f"| {name} | {', '.join(licence)} | how it was made is not recorded |"
                for file in files
                for name in unrecorded(file.recipe)
            ),
            "",
        ]
    )


def _file_line(file: Published) -> str:
    templates = dict.fromkeys(f"`{recipe['template']['name']}`" for recipe in builds(file.recipe))
    command = file.recipe["command"]
    return f"| `{file.name}` | {file.rows:,} | `{command}` | {', '.join(templates)} | `{file.sha256}` |"


def _source_lines(recipe: Recipe, stated: Sequence[str]) -> list[str]:
    """One line for each place that a build read."""
    licence = recipe["licence"] or ", ".join(stated)
    if not recipe["sources"]:
        options = ", ".join(f"{name}={value}" for name, value in recipe["generate"].items() if value)
        return [f"| {recipe['data_set']}, generated | {licence} | {options} |"]
    lines = []
    for source in recipe["sources"]:
        if "hub" in source:
            name = f"[{source['hub']}](https://huggingface.co/datasets/{source['hub']})"
            config = f"{source['config']}, " if source["config"] else ""
            lines.append(f"| {name} ({config}{source['split']}) | {licence} | commit `{source['commit']}` |")
        elif "file" in source:
            lines.append(f"| {recipe['data_set']}: `{source['file']}` | {licence} | SHA-256 `{source['sha256']}` |")
    return lines
