# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which messages of two streams belong together, by their stamps."""

import bisect
from collections.abc import Sequence


def match_stamps(
        images: Sequence[int], others: Sequence[int], slop_ns: int = 0) -> dict[int, int]:
    """
    Return which image each of some other stamps belongs to; an image is matched at most once.

    The closest pairs are made first; of two that are equally close, the one of the earlier image,
    then of the earlier stamp.

    :param images: rising stamps, nanoseconds.
    :param others: the same.
    :param slop_ns: farthest distance of a pair.
    :return: other stamp -> stamp of its image; stamps without an image are left out.
    """
    # All pairs within reach, found by bisection.
    pairs = []
    for other in others:
        first = bisect.bisect_left(images, other - slop_ns)
        last = bisect.bisect_right(images, other + slop_ns)
        pairs += [(abs(image - other), image, other) for image in images[first:last]]

    # A tuple sorts by distance first, then by the image, then by the other stamp.
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for _, image, other in sorted(pairs):
        if image not in taken and other not in matched:
            matched[other] = image
            taken.add(image)
    return matched
