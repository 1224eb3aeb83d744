# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Files of the contract to a data set repository of the Hugging Face Hub, in one commit with their card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.errors import DataError
from data_prep.operations.card import Published, card, licences, published

CARD = "README.md"


@dataclass(frozen=True)
class Plan:
    """What a push would write."""

    repository: str
    files: list[Published]
    card: str


def plan(paths: Sequence[Path], repository: str, licence: str | None = None) -> Plan:
    """The files and the card of a push; raises DataError when a licence or a file's record is missing."""
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise DataError(f"{repository!r} is no repository", remedy="write --repository OWNER/NAME")
    files = published(paths)
    return Plan(repository, files, card(repository, files, licences(files, licence)))


def push(planned: Plan, private: bool = False, revision: str | None = None) -> str:
    """Uploads the plan, and returns the commit to pin readers to.

    The repository is made where there is none; ``revision`` is a branch, which is made too.

    Raises DataError when the Hub refuses or cannot be reached; nothing is changed there then.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    operations = [CommitOperationAdd(file.name, str(file.path)) for file in planned.files]
    operations.append(CommitOperationAdd(CARD, planned.card.encode()))
    where: dict[str, Any] = {"repo_id": planned.repository, "repo_type": "dataset"}
    hub = HfApi()
    try:
        hub.create_repo(**where, private=private, exist_ok=True)
        if revision is not None:
            hub.create_branch(**where, branch=revision, exist_ok=True)
        commit = hub.create_commit(
            **where, operations=operations, commit_message="Files and card by data_prep", revision=revision
        )
    except Exception as error:  # the Hub client has no common base class for what it raises
        raise DataError(
            f"cannot push to {planned.repository!r}: {str(error)[:200]}",
            remedy="log in with `hf auth login` (or set HF_TOKEN), and check the name and the network",
        ) from error
    return commit.oid
