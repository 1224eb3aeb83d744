# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Where rows come from: a file, a folder of files, or a Hugging Face data set."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from data_prep.dedup import unique_of, unique_records
from data_prep.digests import DigestMap
from data_prep.errors import DataError
from data_prep.files import sha256_of
from data_prep.readers import FORMATS, Record, read_records


@dataclass(frozen=True)
class Files:
    """Local files, read one after the other; row numbers run on from file to file."""

    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The files, for messages."""
        return ", ".join(str(path) for path in self.paths)

    def records(self, unique: bool, counts: dict[str, int]) -> Iterator[Record]:
        """``(row, record)``; with ``unique`` a row that repeats an earlier one is left out.

        Adds to ``counts["read"]`` and ``counts["duplicate_rows"]``.
        """
        with DigestMap() as seen:
            for path in self.paths:
                offset = counts["read"]
                if unique:
                    for row, record in unique_records(path, counts, seen):
                        yield offset + row, record
                else:
                    for row, record in read_records(path):
                        counts["read"] += 1
                        yield offset + row, record

    def describe(self) -> list[dict]:
        """Name, size and SHA-256 of every file, for the provenance."""
        return [{"file": p.name, "bytes": p.stat().st_size, "sha256": sha256_of(p)} for p in self.paths]


@dataclass(frozen=True)
class Hub:
    """One split of a Hugging Face data set, streamed through the ``datasets`` library."""

    name: str
    config: str | None
    split: str

    def records(self, unique: bool, counts: dict[str, int]) -> Iterator[Record]:
        """``(row, record)``; as ``Files.records``."""
        rows = self._rows()
        if unique:
            with DigestMap() as seen:
                yield from unique_of(rows, counts, seen)
            return
        for row, record in rows:
            counts["read"] += 1
            yield row, record

    def describe(self) -> list[dict]:
        """The data set's name and commit."""
        from huggingface_hub import HfApi

        try:
            commit = HfApi().dataset_info(self.name).sha
        except Exception as error:  # the Hub client has no common base class for what it raises
            raise self._unreachable(error) from error
        return [{"hub": self.name, "config": self.config, "split": self.split, "commit": commit}]

    def _rows(self) -> Iterator[Record]:
        import datasets

        try:
            yield from enumerate(datasets.load_dataset(self.name, self.config, split=self.split, streaming=True))
        except Exception as error:  # as above
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> DataError:
        return DataError(
            f"cannot read {self.name!r} (split {self.split!r}) from the Hugging Face Hub: {str(error)[:200]}",
            remedy="check the name and the network, or download the files and give them with --source PATH",
        )


def find_files(source: Path, patterns: Sequence[str]) -> Files:
    """The files of one split below ``source``.

    A file stands for itself. In a folder the first pattern that matches any file name decides, and all its matches are
    taken in order of name (shards).

    Raises DataError when nothing matches.
    """
    if source.is_file():
        return Files((source,))
    names = sorted(p for p in source.iterdir() if p.suffix in FORMATS and not p.name.startswith("."))
    for pattern in patterns:
        matches = tuple(p for p in names if fnmatch(p.name.lower(), pattern))
        if matches:
            return Files(matches)
    raise DataError(
        f"no file here matches {' or '.join(patterns)}",
        file=source,
        remedy=f"name the file itself with --source; files here: {', '.join(p.name for p in names[:8]) or 'none'}",
    )
