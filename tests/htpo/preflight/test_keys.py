# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of keys and divisions name fields that verl has: one that it renames is noticed here, not in a run."""

import pytest
from omegaconf import OmegaConf
from preflight_support import composed

from recipe.htpo.preflight import keys, settings, sizes

# Not composed by verl: the layout's group; what earlier versions had; what a run may add.
OURS = {"layout", "reward_model.overlong_buffer", f"{keys.TRANSFORMER}.recompute_method", "data.gen_batch_size"}
OURS |= {f"{keys.TRANSFORMER}.recompute_num_layers", f"{keys.MODEL}.model_type"}
OURS |= {f"{keys.FSDP}.mixed_precision.{name}_dtype" for name in ("param", "reduce", "buffer")}


@pytest.fixture(scope="module")
def engines():
    """Both engines' configurations."""
    return {name: composed([f"model_engine={name}"]) for name in ("dp", "megatron")}


def missing(config, fields):
    return {field for field in fields if OmegaConf.select(config, field, default="nowhere") == "nowhere"} - OURS


def test_every_row_is_about_a_field_that_there_is(engines):
    everywhere = {key.field for key in keys.GENERAL + keys.ENGINE + keys.WARNINGS}
    assert missing(engines["megatron"], everywhere) & missing(engines["dp"], everywhere) == set()
    assert missing(engines["megatron"], {key.field for key in keys.MEGATRON_KEYS}) == set()
    assert missing(engines["dp"], {key.field for key in keys.FSDP_KEYS}) == set()


def test_so_are_those_that_are_read_instead(engines):
    assert (
        missing(engines["megatron"], keys.SHADOWED.values()) & missing(engines["dp"], keys.SHADOWED.values()) == set()
    )


def test_untouched_fields_have_the_value_that_the_table_says(engines):
    """Otherwise every configuration would be refused, or none."""
    for config in engines.values():
        for field, (untouched, _) in keys.UNREAD.items():
            assert OmegaConf.select(config, field, default=untouched) == untouched, field


def test_sizes_are_fields_too(engines):
    def fields(*tables):
        return {
            f"{section}.{name.rstrip('?')}" for table in tables for section in table for name in table[section].split()
        }

    assert missing(engines["megatron"], fields(sizes.POSITIVE, sizes.POSITIVE_MEGATRON)) == set()
    assert missing(engines["dp"], fields(sizes.POSITIVE, sizes.POSITIVE_FSDP)) == set()


def test_texts_name_settings_that_there_are(engines):
    """A message that cannot be formatted would be a traceback in place of a remedy."""
    model = settings.known_architecture(composed(["layout=fsdp/qwen3_8b"]))
    asymre = keys.objective_config(composed(["objective.weights.name=asymre"])).weights
    for engine, table in (
        ("megatron", keys.GENERAL + keys.ENGINE + keys.MEGATRON_KEYS + keys.WARNINGS),
        ("dp", keys.FSDP_KEYS),
    ):
        found = settings.Settings(engines[engine])
        vars(found).update(value="VALUE", found="FOUND", shape=model, weights=asymre)
        for key in table:
            for text in (key.message, key.remedy):
                assert "{" not in text.format_map(found).replace("${data.", ""), key.field
