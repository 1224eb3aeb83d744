# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Pass rates of a model, measured with the evaluation command and filled into ``extra_info.pass_rate``."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from data_prep.contract import derived_recipe, require_contract
from data_prep.errors import DataError
from data_prep.operations.select import Selection, select
from data_prep.storage.files import refuse_overwriting
from data_prep.storage.provenance import refuse_other_configuration

EVALUATION = "recipe.htpo.evaluation.__main__"
RESPONSES = "responses.parquet"
"""What the evaluation writes into its folder: one row a response, with the prompt's ``id`` and ``acc``."""


def measure_pass_rates(
    path: Path, model: str, out: Path, responses: Path, settings: Sequence[str] = (), force: bool = False
) -> dict[str, int]:
    """Samples and grades responses to every prompt of ``path``, and writes ``out`` with the share of right ones.

    ``settings`` are those of ``python -m recipe.htpo.evaluation`` (``n=8``). A call that was interrupted goes on with
    what ``responses`` holds.

    Raises DataError when the evaluation fails, which has then said why.
    """
    refuse_overwriting(out, [path])
    require_contract(path)
    verdicts = responses / RESPONSES
    if not force and out.exists() and not verdicts.exists():
        refuse_other_configuration(out, derived_recipe("select", [path], {}), force)
    try:
        evaluate = import_module(EVALUATION).main
    except ImportError as error:
        raise DataError(
            f"the evaluation cannot start: {error}", remedy="install the recipe with vLLM (scripts/setup_env.sh)"
        ) from error
    if any(setting.partition("=")[0] == "out" for setting in settings):
        raise DataError("out= is set by --responses", remedy="leave it out")
    if evaluate([model, str(path), *settings, f"out={responses}"]):
        raise DataError("the evaluation failed; see above", file=path, remedy="mend it and call again: it is resumed")
    return select(path, out, Selection(verdicts=verdicts), force)
