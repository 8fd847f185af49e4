# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the network's answers for several tiles to one answer, with seams that cannot be seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Detections, Outputs
from mtl_perception.inference.fit import Layout, Window
from mtl_perception.manifest import Manifest
from mtl_perception.postprocessing import separate
from mtl_perception.tasks import MOVING

Ids = NDArray[np.uint16]

SAME_OBJECT = 0.5
"""Two tiles saw one object if they agree on this share of the smaller part in their overlap."""
SAME_BOX = 0.5
"""Two boxes of a class are one object from this intersection over union on."""
INSIDE = 0.7
"""A box that a border cuts is a part of one that holds this share of it."""
CUT_PX = 3.0
"""A box that ends so near to the border of its tile is cut by it, pixels of the network."""


def join(found: Sequence[Outputs], layout: Layout, manifest: Manifest) -> Outputs:
    """
    Return the outputs of several tiles as those of the picture that they are parts of.

    Where two tiles overlap, depth goes from one to the other along a ramp, in its logarithm, and
    so does the probability of moving. Classes change in the middle of the overlap. Objects and
    boxes that a border cuts in two become one again.

    :param found: of each tile of the layout.
    :param layout: of the tiles.
    :param manifest: of the network.
    :return: of the size of the picture; ``objects`` in place of ``instance``.
    """
    if len(found) == 1:
        return found[0]
    across = layout.tiles[1].left > 0
    maps: dict[str, Any] = {}

    def fold(name: str, blend: bool) -> None:
        if getattr(found[0], name) is not None:
            maps[name] = _folded([getattr(one, name) for one in found], layout, across, blend)

    fold('semantic', False)
    fold('sky', False)
    fold('semantic_confidence', False)
    if found[0].depth is not None:
        logarithms = [np.log(np.asarray(one.depth)) for one in found]
        maps['depth'] = np.exp(_folded(logarithms, layout, across, True))
    fold('height_exponent', True)
    fold('motion', False)
    fold('motion_score', True)
    if 'motion_score' in maps:
        maps['motion'] = np.where(maps['motion_score'] > 0.5, np.uint8(MOVING), np.uint8(0))

    if found[0].instance is not None and found[0].semantic is not None:
        maps['objects'] = _one_numbering(found, layout, across, manifest)
    if found[0].detection is not None:
        maps['detection'] = _boxes(found, layout, across)
    return Outputs(**maps)


def _overlap(before: Window, tile: Window, across: bool) -> slice:
    """Return which rows or columns of the picture a tile shares with the one before it."""
    if across:
        return slice(tile.left, before.left + before.width)
    return slice(tile.top, before.top + before.height)


def _folded(
    maps: Sequence[NDArray[Any]], layout: Layout, across: bool, blend: bool,
) -> NDArray[Any]:
    """Return one map of several; in an overlap a ramp if they can be blended, else a cut."""
    joined = np.zeros(layout.picture, maps[0].dtype)
    layout.tiles[0].of(joined)[:] = maps[0]
    for before, tile, values in zip(layout.tiles, layout.tiles[1:], maps[1:]):
        shared = _overlap(before, tile, across)
        length = shared.stop - shared.start
        share = (np.arange(length, dtype=np.float32) + 0.5) / length
        if not blend:
            share = np.where(share > 0.5, np.float32(1), np.float32(0))

        # What was there goes out as the new tile comes in.
        place = tile.of(joined)
        old = place.copy()
        place[:] = values
        along = (slice(None), slice(0, length)) if across else (slice(0, length), slice(None))
        weight = share[None] if across else share[:, None]
        if blend:
            place[along] = old[along] + weight * (values[along] - old[along])
        else:
            place[along] = np.where(weight > 0, values[along], old[along])
    return joined


def _one_numbering(
    found: Sequence[Outputs], layout: Layout, across: bool, manifest: Manifest,
) -> Ids:
    """Return (rows, columns) uint16 objects; one that two tiles saw has one number."""
    task = manifest.task('semantic')
    joined = np.zeros(layout.picture, np.uint16)
    classes = np.zeros(layout.picture, np.uint8)

    for number, (tile, one) in enumerate(zip(layout.tiles, found)):
        assert one.instance is not None
        assert one.semantic is not None
        own = separate(one.instance, one.semantic, task)

        table = np.arange(int(own.max()) + 1)
        table[1:] += int(joined.max())
        start = 0

        # What the overlap shows already keeps its number.
        if number:
            shared = _overlap(layout.tiles[number - 1], tile, across)
            start = (shared.stop - shared.start + 1) // 2
            length = shared.stop - shared.start
            there, here = (tile.of(joined), own)
            known, semantic = tile.of(classes), one.semantic
            if not across:
                there, here, known, semantic = there.T, here.T, known.T, semantic.T
            same = known[:, :length] == semantic[:, :length]
            _same_objects(there[:, :length], here[:, :length], same, table)

        # As for classes, the first half of the overlap stays what it was.
        kept = (slice(None), slice(start, None)) if across else (slice(start, None), slice(None))
        tile.of(joined)[kept] = table[own][kept]
        tile.of(classes)[kept] = one.semantic[kept]
    return _by_size(joined)


def _same_objects(
    there: Ids, here: Ids, same: NDArray[np.bool_], table: NDArray[np.int64],
) -> None:
    """
    Give objects of a tile the numbers that they have already.

    :param there: numbers in the overlap so far.
    :param here: numbers of the tile in the overlap.
    :param same: where both say the same class.
    :param table: number of the tile -> number in the picture, changed in place.
    """
    for own in np.unique(here[here > 0]):
        mine = here == own
        others, counts = np.unique(there[mine & same], return_counts=True)
        counts, others = counts[others > 0], others[others > 0]
        if not len(others):
            continue
        other = others[counts.argmax()]
        smaller = min(int(mine.sum()), int((there == other).sum()))
        if counts.max() >= SAME_OBJECT * smaller:
            table[own] = other


def _by_size(ids: Ids) -> Ids:
    """Return objects numbered from 1 on, the largest first."""
    sizes = np.bincount(ids.ravel())
    sizes[0] = 0
    order = np.argsort(-sizes, kind='stable')[:np.count_nonzero(sizes)]
    table = np.zeros(len(sizes), np.uint16)
    table[order] = np.arange(1, len(order) + 1)
    return np.asarray(table[ids])


@dataclass(frozen=True, eq=False)
class _Box:
    """
    One box in the picture.

    :param corners: (4,) x_min, y_min, x_max, y_max.
    :param score: of the object.
    :param kind: its class.
    :param before: whether it may go on in the tile before its own, whose border may cut it.
    :param after: the same of the tile after its own.
    """

    corners: NDArray[np.float64]
    score: float
    kind: int
    before: bool = False
    after: bool = False

    @property
    def cut(self) -> bool:
        """Whether it may be a part of an object only."""
        return self.before or self.after


def _boxes(found: Sequence[Outputs], layout: Layout, across: bool) -> Detections:
    """Return the boxes of all tiles in the picture; an object that two saw has one box."""
    kept: list[_Box] = []
    for number, (tile, one) in enumerate(zip(layout.tiles, found)):
        boxes = one.detection
        assert boxes is not None

        # Which boxes end at a border where another tile goes on?
        low, high = boxes.corners[:, 0 if across else 1], boxes.corners[:, 2 if across else 3]
        length = tile.width if across else tile.height
        before = (low < CUT_PX) & (number > 0)
        after = (high > length - CUT_PX) & (number < len(found) - 1)

        corners = boxes.corners.astype(np.float64) + [tile.left, tile.top] * 2
        earlier = len(kept)
        for each in zip(corners, boxes.scores.tolist(), boxes.classes.tolist(), before.tolist(),
                        after.tolist()):
            _add(kept, earlier, _Box(*each), across)

    kept.sort(key=lambda box: -box.score)
    return Detections(
        np.array([box.corners for box in kept], np.float32).reshape(-1, 4),
        np.array([box.score for box in kept], np.float32),
        np.array([box.kind for box in kept], np.uint8))


def _add(kept: list[_Box], earlier: int, box: _Box, across: bool) -> None:
    """Add a box, unless one of the first, those of earlier tiles, is of the same object."""
    same = [place for place, other in enumerate(kept[:earlier])
            if other.kind == box.kind and _same(other, box, across)]
    if not same:
        kept.append(box)
        return

    # Cars that stand close to each other may both match: the one that covers it best is it.
    place = max(same, key=lambda place: _overlap_of(kept[place], box))
    other = kept[place]
    score = max(box.score, other.score)

    # Of two whole boxes the better one counts, of a whole and a cut one the whole one; two that
    # are cut are the parts of one.
    whole = [one for one in (other, box) if not one.cut]
    if whole:
        kept[place] = _Box(max(whole, key=lambda one: one.score).corners, score, box.kind)
        return
    corners = np.concatenate([
        np.minimum(box.corners[:2], other.corners[:2]),
        np.maximum(box.corners[2:], other.corners[2:])])
    kept[place] = _Box(corners, score, box.kind, other.before, box.after)


def _overlap_of(first: _Box, second: _Box) -> float:
    """Return the intersection over union of two boxes."""
    common = (np.minimum(first.corners[2:], second.corners[2:])
              - np.maximum(first.corners[:2], second.corners[:2])).clip(0)
    both = float(common.prod())
    areas = [float((one.corners[2:] - one.corners[:2]).prod()) for one in (first, second)]
    return both / max(sum(areas) - both, 1e-9)


def _same(first: _Box, second: _Box, across: bool) -> bool:
    """
    Return whether two boxes of a class are of one object.

    :param first: of an earlier tile.
    :param second: of a later one.
    :param across: whether the tiles stand side by side.
    """
    common = (np.minimum(first.corners[2:], second.corners[2:])
              - np.maximum(first.corners[:2], second.corners[:2]))
    if (common <= 0).any():
        return False
    sides = [one.corners[2:] - one.corners[:2] for one in (first, second)]

    # Two parts stand side by side and are as high as each other, or above one another. The first
    # goes on where the second begins: what the second's other border cuts is another object.
    if first.after and second.before:
        axis = 1 if across else 0
        return bool(common[axis] > SAME_BOX * (sides[0] + sides[1] - common)[axis])

    both = float(common.prod())
    return _overlap_of(first, second) > SAME_BOX or any(
        one.cut and both > INSIDE * float(side.prod())
        for one, side in zip((first, second), sides))
