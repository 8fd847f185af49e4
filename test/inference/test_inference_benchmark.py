# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
from mtl_perception.inference.benchmark import milliseconds


def test_every_variant_takes_time(tiny_model):
    found = milliseconds(str(tiny_model), rounds=9)
    assert list(found) == [
        'step with the previous state', 'step without', 'all 2 frame(s) encoded again',
        'step with the previous state, bf16']
    assert all(value > 0 for value in found.values())
