# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sky between leaves, and what shows through a railing, in the labels of the street."""

import numpy as np
import pytest

from mtl_perception.datasets.gaps import with_gaps_filled
from mtl_perception.tasks import ROADS_SEMANTIC, STREET_SEMANTIC

PLANTS, SKY, POLE, FENCE, HOUSE, PERSON = (
    ROADS_SEMANTIC.classes.index(name)
    for name in ('vegetation', 'sky', 'pole', 'fence', 'building', 'person'))


def two_bars(gap, kind=PLANTS, behind=SKY):
    """Return a frame with two bars of a class before another one, so many pixels apart."""
    frame = np.full((1, 21, 40), behind, np.uint8)
    frame[:, 5:16, 8:12] = frame[:, 5:16, 12 + gap:16 + gap] = kind
    return frame


@pytest.mark.parametrize(('kind', 'behind'), [(PLANTS, SKY), (FENCE, HOUSE), (FENCE, PLANTS)])
def test_a_gap_is_filled_up_to_the_width_that_is_given(kind, behind):
    # between the rows where the disc fits, all of a narrow gap and nothing of a wide one
    narrow, wide = two_bars(3, kind, behind), two_bars(9, kind, behind)
    assert (with_gaps_filled(narrow, 5)[0, 8:13, 12:15] == kind).all()
    assert (with_gaps_filled(wide, 5) == wide).all()
    assert (with_gaps_filled(wide, 11)[0, 8:13, 12:21] == kind).all()


@pytest.mark.parametrize(('kind', 'before'), [
    (PLANTS, POLE), (PLANTS, HOUSE), (PLANTS, FENCE), (FENCE, PERSON), (FENCE, POLE)])
def test_what_may_stand_before_it_keeps_its_pixels(kind, before):
    frame = two_bars(3, kind)
    frame[0, :, 13] = before
    found = with_gaps_filled(frame, 5)
    assert (found[frame == kind] == kind).all()
    assert (found[frame == before] == before).all()
    assert set(np.unique(found[frame == SKY])) == {SKY, kind}


def test_nothing_changes_without_a_gap_and_the_labels_given_stay_as_they_are():
    frame = two_bars(3)
    assert with_gaps_filled(frame, 0) is frame
    before = frame.copy()
    with_gaps_filled(frame, 5)
    assert (frame == before).all()


def test_the_classic_look_has_the_same_ids():
    assert ROADS_SEMANTIC.classes[:len(STREET_SEMANTIC.classes)] == STREET_SEMANTIC.classes
