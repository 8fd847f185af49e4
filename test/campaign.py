# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
How many random inputs the doors are tried with, and from which seed.

``MTL_PERCEPTION_EXAMPLES=N`` sets the number for each test, ``MTL_PERCEPTION_SEED=S`` repeats a
run; the header of every run of pytest shows both.
"""

import os
import random

import pytest
from hypothesis import HealthCheck, seed, settings

EXAMPLES = int(os.environ.get('MTL_PERCEPTION_EXAMPLES', '40'))
SEED = int(os.environ.get('MTL_PERCEPTION_SEED', '0')) or random.SystemRandom().getrandbits(31)


def campaign(share=1.0):
    """
    Return the decorator of a test of random inputs.

    :param share: of the number of examples, for tests whose inputs are slow to make.
    """
    def decorate(test):
        return pytest.mark.campaign(seed(SEED)(settings(
            max_examples=max(1, round(EXAMPLES * share)), deadline=None, database=None,
            suppress_health_check=list(HealthCheck))(test)))
    return decorate
