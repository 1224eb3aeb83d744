# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Where rows come from: files, a folder that the ``datasets`` library reads, or a Hugging Face data set."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from data_prep.errors import DataError
from data_prep.sources.dedup import unique_of, unique_records
from data_prep.sources.readers import Record, format_of, read_records
from data_prep.storage.files import sha256_of

SAVED = ("dataset_dict.json", "state.json")
"""What ``datasets`` writes with ``save_to_disk``."""


class Place(Protocol):
    """Rows of one split."""

    @property
    def name(self) -> str:
        """For messages."""

    def records(self, unique: bool, counts: dict[str, int]) -> Iterator[Record]:
        """``(row, record)``; with ``unique`` a row that repeats an earlier one is left out.

        Adds to ``counts["read"]`` and ``counts["duplicate_rows"]``.
        """

    def describe(self) -> list[dict]:
        """What the rows were read from, for the provenance."""


@dataclass(frozen=True)
class Files:
    """Local files, read one after the other; row numbers run on from file to file."""

    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        return ", ".join(str(path) for path in self.paths)

    def records(self, unique: bool, counts: dict[str, int]) -> Iterator[Record]:
        if unique:
            yield from unique_records(self.paths, counts)
            return
        for path in self.paths:
            offset = counts["read"]
            for row, record in read_records(path):
                counts["read"] += 1
                yield offset + row, record

    def describe(self) -> list[dict]:
        """Name, size and SHA-256 of every file."""
        return [_file(path, path.name) for path in self.paths]


@dataclass(frozen=True)
class Library(ABC):
    """A split that the ``datasets`` library reads; images, videos and audios stay as they are stored."""

    name: str
    config: str | None
    split: str

    def records(self, unique: bool, counts: dict[str, int]) -> Iterator[Record]:
        rows = self._rows()
        if unique:
            yield from unique_of(rows, counts)
            return
        for row, record in rows:
            counts["read"] += 1
            yield row, record

    @abstractmethod
    def describe(self) -> list[dict]: ...

    def _rows(self) -> Iterator[Record]:
        try:
            yield from enumerate(self._load())
        except DataError:
            raise
        except Exception as error:  # datasets and the Hub client have no common base class for what they raise
            raise self._unreadable(error) from error

    @abstractmethod
    def _load(self) -> Any: ...

    @abstractmethod
    def _unreadable(self, error: Exception) -> DataError: ...


@dataclass(frozen=True)
class Hub(Library):
    """One split of a Hugging Face data set, streamed, all of it at one commit."""

    revision: str | None = None

    @cached_property
    def commit(self) -> str:
        """The commit that ``revision`` stands for."""
        from huggingface_hub import HfApi

        try:
            return str(HfApi().dataset_info(self.name, revision=self.revision).sha)
        except Exception as error:  # as in Library
            raise self._unreadable(error) from error

    def describe(self) -> list[dict]:
        """The data set's name and commit."""
        return [{"hub": self.name, "config": self.config, "split": self.split, "commit": self.commit}]

    def _load(self) -> Any:
        import datasets

        return datasets.load_dataset(
            self.name, self.config, split=self.split, revision=self.commit, streaming=True
        ).decode(False)

    def _unreadable(self, error: Exception) -> DataError:
        return DataError(
            f"cannot read {self.name!r} (split {self.split!r}) from the Hugging Face Hub: {str(error)[:200]}",
            remedy="check the name and the network, or download the files and give them with --source PATH",
        )


class Folder(Library):
    """One split of a folder: what ``save_to_disk`` wrote, or files laid out as on the Hub."""

    def describe(self) -> list[dict]:
        """Name, size and SHA-256 of every file."""
        root = Path(self.name)
        files = sorted(path for path in root.rglob("*") if path.is_file() and not _hidden(path.relative_to(root)))
        return [
            {"folder_split": self.split, "config": self.config},
            *(_file(path, path.relative_to(root).as_posix()) for path in files),
        ]

    def _load(self) -> Any:
        import datasets

        if not any((Path(self.name) / name).exists() for name in SAVED):
            return datasets.load_dataset(self.name, self.config, split=self.split, streaming=True).decode(False)
        saved = datasets.load_from_disk(self.name)
        if isinstance(saved, datasets.DatasetDict):
            if self.split not in saved:
                raise DataError(
                    f"no split {self.split!r} here, only {', '.join(saved)}",
                    file=self.name,
                    remedy="name the source's split with --source-split",
                )
            saved = saved[self.split]
        return saved.to_iterable_dataset().decode(False)

    def _unreadable(self, error: Exception) -> DataError:
        return DataError(
            f"datasets cannot read the split {self.split!r}: {str(error)[:300]}",
            file=self.name,
            remedy="name the source's split with --source-split, its configuration with --subset, or give a file",
        )


def find_place(source: Path, patterns: Sequence[str], split: str, config: str | None = None) -> Files | Folder:
    """The rows of one split below ``source``.

    A file stands for itself. In a folder the first of our ``patterns`` that matches any file name decides, and all its
    matches are taken in order of name (shards); where none matches, ``datasets`` finds the split by its own rules.

    Raises DataError when there is nothing to read.
    """
    if source.is_file():
        return Files((source,))
    names = sorted(p for p in source.iterdir() if format_of(p) and not p.name.startswith("."))
    saved = any((source / name).exists() for name in SAVED)
    for pattern in () if saved else patterns:
        matches = tuple(p for p in names if fnmatch(p.name.lower(), pattern))
        if matches:
            return Files(matches)
    below = (p for p in source.rglob("*") if format_of(p) and not _hidden(p.relative_to(source)))
    if saved or (not patterns or any(p.parent != source for p in below)):
        return Folder(str(source), config, split)
    raise DataError(
        f"no file here matches {' or '.join(patterns)}",
        file=source,
        remedy=f"name the file itself with --source; files here: {', '.join(p.name for p in names[:8]) or 'none'}",
    )


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _file(path: Path, name: str) -> dict:
    return {"file": name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
