# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Digests of texts, and the map that moves to disk."""

from data_prep.storage.digests import DigestMap, digest


def test_digests_tell_the_split_of_texts_apart() -> None:
    assert digest("ab", "") != digest("a", "b") != digest("ab")


def test_digest_map_moves_to_disk_and_keeps_everything() -> None:
    with DigestMap(memory_entries=10) as small, DigestMap() as large:
        for number in range(50):
            for target in (small, large):
                target.set(digest(str(number % 30)), number)
        keys = [digest(str(number)) for number in range(40)]
        assert [small.get(key) for key in keys] == [large.get(key) for key in keys]
        assert small.get(keys[5]) == 35 and small.get(keys[35]) is None
