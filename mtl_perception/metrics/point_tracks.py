# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How often the ids of the largest objects of a drive change, at labelled points."""

from collections import Counter
from collections.abc import Hashable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 20
"""So many objects of a drive count, those with most points over its frames."""
SHARE = 1 / 3
"""An object is found as the one that most of its points lie on, if that is at least this share."""

Object = tuple[Hashable, str]


class PointTracks:
    """
    Changes of id of objects that are labelled at points, such as those of a lidar.

    Points have no outlines, so an overlap cannot be told: an object has the predicted id that most
    of its points lie on, and an id is that of one object in a frame, the one with most points
    there. What lies on none is neither found nor a change. What is predicted elsewhere does not
    count: not every object of a recording is labelled.

    :param largest: how many objects of each drive count.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self.largest = largest
        self._points: Counter[Object] = Counter()
        self._ids: dict[Object, list[int]] = {}

    def update(self, drive: Hashable, objects: Mapping[str, NDArray[np.integer[Any]]]) -> None:
        """
        Count one frame; the frames of a drive come in order.

        :param drive: which one.
        :param objects: name of an object, the same in every frame -> (N,) predicted ids at its
            points, 0 = none; all that are labelled in the frame.
        """
        claims = []
        for name, ids in objects.items():
            self._points[drive, name] += len(ids)
            values, counts = np.unique(ids[ids > 0], return_counts=True)
            if len(values) and counts.max() >= SHARE * len(ids):
                claims.append((int(counts.max()), name, int(values[counts.argmax()])))

        # Most points first: what is left of an id is another object that it covers too.
        found: dict[str, int] = {}
        for _, name, number in sorted(claims, reverse=True):
            if number not in found.values():
                found[name] = number
        for name in objects:
            self._ids.setdefault((drive, name), []).append(found.get(name, 0))

    def compute(self) -> dict[str, Any]:
        """
        Return the metrics of the largest objects.

        :return: ``objects``, ``seen`` of them at least once, ``frames`` in which they have points
            and ``found`` of these, ``changes`` of id, and ``kept``: the share of the frames in
            which an object was found that has the id it has most often.
        """
        changes = kept = found = frames = seen = 0
        chosen = self._chosen()
        for one in chosen:
            ids = [number for number in self._ids[one] if number]
            frames += len(self._ids[one])
            found += len(ids)
            seen += bool(ids)
            changes += sum(now != before for before, now in pairwise(ids))
            kept += max(Counter(ids).values(), default=0)
        return {'objects': len(chosen), 'seen': seen, 'frames': frames, 'found': found,
                'changes': changes, 'kept': kept / found if found else None}

    def _chosen(self) -> list[Object]:
        """Return the objects with most points of each drive; the first one of equals."""
        drives: Counter[Hashable] = Counter()
        chosen = []
        for one, points in self._points.most_common():
            if points and drives[one[0]] < self.largest:
                drives[one[0]] += 1
                chosen.append(one)
        return chosen
