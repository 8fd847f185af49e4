# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From depth and what else is known of the pixels to points in the camera's optical frame."""

import numpy as np
from numpy.typing import NDArray

from mtl_perception.media.intrinsics import NO_CALIBRATION, Intrinsics
from mtl_perception.tasks import UNLABELLED

Floats = NDArray[np.float32]

POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4'), ('label', '<u4'),
                  ('confidence', '<f4')])
"""
One point: metres (x right, y down, z ahead), colour as 0x00RRGGBB, class id, probability.

The types are those of PCL's ``PointXYZRGBL``: it reads ``rgb`` as the bits of a float.
"""


class PixelRays:
    """
    The rays through the pixels of one camera, made once for as long as the camera is the same.

    Through a lens, they are those of the pixels as they are published, with its distortion: the
    results of a rectified image are put back to the camera's pixels.
    """

    def __init__(self) -> None:
        self._known = NO_CALIBRATION
        self._focal_px = 0.0
        self._made: tuple[tuple[int, ...], Floats, Floats] | None = None

    def use(self, known: Intrinsics, focal_px: float) -> None:
        """
        Take the camera of the next image.

        :param known: what its calibration says, at the size of its images.
        :param focal_px: where that says nothing, pixels; the principal point is in the middle of
            the image then.
        """
        if (known, focal_px) != (self._known, self._focal_px):
            self._known = known
            self._focal_px = focal_px
            self._made = None

    def at(self, camera: tuple[int, int], size: tuple[int, int]) -> tuple[Floats, Floats]:
        """
        Return x / z and y / z of each pixel, (H, W) float32; NaN where the lens sees nothing.

        :param camera: (rows, columns) of the camera's image.
        :param size: (H, W) of that image after it was resized.
        """
        key = (*camera, *size)
        if self._made is None or self._made[0] != key:
            self._made = (key, *self._rays(camera, size))
        return self._made[1:]

    def _rays(self, camera: tuple[int, int], size: tuple[int, int]) -> tuple[Floats, Floats]:
        """Return the rays, as views of one row and one column where there is no lens."""
        # Pixel 0 covers -0.5 to 0.5: the edge at -0.5 stays in place, not the centre at 0.
        column = (np.arange(size[1]) + 0.5) * camera[1] / size[1] - 0.5
        row = (np.arange(size[0])[:, None] + 0.5) * camera[0] / size[0] - 0.5
        known = self._known
        if known.lens is not None:
            x, y = known.lens.unproject(*np.broadcast_arrays(column, row))
            return x.astype(np.float32), y.astype(np.float32)

        across, down = known.centre or ((camera[1] - 1) / 2, (camera[0] - 1) / 2)
        focal_x = known.focal_px or self._focal_px
        x = ((column - across) / focal_x).astype(np.float32)
        y = ((row - down) / (known.focal_y_px or focal_x)).astype(np.float32)
        return np.broadcast_to(x, size), np.broadcast_to(y, size)


def points_of(
    depth: Floats, rays: tuple[Floats, Floats], image: NDArray[np.uint8],
    semantic: NDArray[np.uint8] | None = None, confidence: Floats | None = None,
    organised: bool = True,
) -> NDArray[np.void]:
    """
    Return the points that pixels show, ``Z (x / z, y / z, 1)`` for depth Z along the axis.

    :param depth: (H, W) float32 metres along Z; NaN = invalid, +Inf = sky or beyond range.
    :param rays: of :meth:`PixelRays.at`, (H, W) each.
    :param image: (H, W, 3) uint8 RGB.
    :param semantic: (H, W) uint8 class ids; 255, unlabelled, if None.
    :param confidence: (H, W) float32, probability that depth is right, 0 = unknown, as if None.
    :param organised: whether there is a point for each pixel, NaN where depth is not finite.
    :return: of :data:`POINT`: (H, W), or (N,) of the pixels with a depth, row by row.
    """
    x, y = rays
    known = np.isfinite(depth) & np.isfinite(x) & np.isfinite(y)
    if organised:
        known_depth = np.where(known, depth, np.float32(np.nan))
    else:
        # one selection for every map
        known_depth, x, y, image = depth[known], x[known], y[known], image[known]
        semantic = None if semantic is None else semantic[known]
        confidence = None if confidence is None else confidence[known]

    points = np.empty(known_depth.shape, POINT)
    np.multiply(x, known_depth, out=points['x'])
    np.multiply(y, known_depth, out=points['y'])
    points['z'] = known_depth
    colour = image.astype(np.uint32)
    points['rgb'] = colour[..., 0] << 16 | colour[..., 1] << 8 | colour[..., 2]
    points['label'] = UNLABELLED if semantic is None else semantic
    points['confidence'] = 0 if confidence is None else confidence
    return points
