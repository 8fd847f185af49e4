# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The camera's motion between two frames, from optical flow, depth and static pixels."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from mtl_perception.egomotion.pinhole import Floats, Matrix, Pinhole, rigid_flow, warp
from mtl_perception.egomotion.solve import FARTHEST_M, Fit, Matches, ransac, refine
from mtl_perception.egomotion.static import Image, Mask, Places

AGREES = 2.5
"""A match agrees with a pose if its error is below this multiple of the expected error."""
BELIEVABLE = 0.5
"""A pose of a lower quality should not be used."""
OFFSET_SIGMA = 0.01
"""
Expected change of the error that all inverse depths share, 1/m. A network takes the horizon to be
where it was in its training. Under a camera that is pitched otherwise, 1 / Z of the ground and of
all that stands on it is wrong by the pitch (radians) over the camera's height.
"""
LARGEST_OFFSET = 0.08
"""An offset beyond this is no pitch of a camera on a road, 1/m: 7 degrees at 1.5 m."""
START = np.diag([1 / np.radians(0.5) ** 2] * 3 + [1 / 0.1 ** 2] * 3)
"""Inverse covariance of the guess that an estimate starts from: half a degree, 0.1 m."""


@dataclass(frozen=True, eq=False)
class EgoMotion:
    """
    The motion of a camera between two frames.

    :param pose: (4, 4) float64 from this camera's frame to the earlier one's; its last column is
        the position of this camera in the earlier one's frame, metres.
    :param quality: 0 to 1: the share of the matches that agree with the pose, lowered where they
        do not determine the translation. A pose below :data:`BELIEVABLE` is unreliable.
    :param matches: number of matches that the pose was estimated from.
    :param flow: (H, W, 2) float32 optical flow to the earlier frame, pixels; None if it was not
        asked for.
    :param offset: to add to all inverse depths, as the pose was estimated with them, 1/m.
    """

    pose: Matrix
    quality: float
    matches: int
    flow: Floats | None = None
    offset: float = 0.0

    @property
    def travel(self) -> float:
        """Return how far the camera moved, metres."""
        return float(np.linalg.norm(self.pose[:3, 3]))


class MotionEstimator:
    """
    Estimate the motion of one camera.

    The earlier image is first warped by the guess, so that the optical flow (DIS, Kroeger et al.,
    ECCV 2016) has only the remainder to find: close to the camera, on a road without texture, it
    misses the full flow. Not safe to use from several threads.

    :param camera: of the images, at their size.
    :param fine: finest scale of the flow: ``step`` is fast and good enough between consecutive
        frames; ``full`` ends at full resolution, which the residual flow needs.
    """

    def __init__(self, camera: Pinhole, fine: Literal['step', 'full'] = 'step') -> None:
        self.camera = camera
        if fine == 'step':
            self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
            self._flow.setFinestScale(2)
        else:
            self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
            self._flow.setFinestScale(0)
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def estimate(
        self, current: Image, earlier: Image, depth: Floats, pixels: Places,
        guess: Matrix | None = None, keep_flow: bool = False, offset: float | None = None,
        search: bool = True,
    ) -> EgoMotion:
        """
        Return the motion from the earlier frame to the current one.

        :param current: (H, W) uint8 grey.
        :param earlier: (H, W) uint8 grey.
        :param depth: (H, W) float32 metres along Z of the current frame; its scale becomes that
            of the translation.
        :param pixels: (N, 2) rows and columns in the current frame, static and with a depth, see
            :func:`.textured_pixels`.
        :param guess: (4, 4) float64, the expected pose, such as that of the last step; None
            searches for one.
        :param keep_flow: whether the flow is returned.
        :param offset: to add to inverse depth, 1/m, a first value that is estimated with the pose;
            None takes depth as it is.
        :param search: whether a guess that misled makes it search for a pose.
        :raises ValueError: if shapes differ.
        """
        for name, array in (('earlier', earlier), ('depth', depth)):
            if array.shape != current.shape:
                raise ValueError(
                    f'{name} has shape {array.shape}, the current image {current.shape}; they '
                    'must be equal')

        depth = shifted_depth(depth, offset or 0.0)
        result = None
        if guess is not None:
            result = self._estimate_near(
                current, earlier, depth, pixels, guess, keep_flow, offset)

        # The search costs one more flow: only without a guess, or where the guess misled.
        if result is None or (search and result.quality < BELIEVABLE):
            found = self._search_pose(current, earlier, depth, pixels)
            if found is not None:
                retry = self._estimate_near(
                    current, earlier, depth, pixels, found, keep_flow, offset)
                if result is None or retry.quality > result.quality:
                    result = retry

        if result is None:
            result = self._estimate_near(
                current, earlier, depth, pixels, np.eye(4), keep_flow, offset)
        return result

    def _search_pose(
        self, current: Image, earlier: Image, depth: Floats, pixels: Places,
    ) -> Matrix | None:
        """Return a pose found without a guess, from the flow between the unwarped images."""
        flow = np.asarray(self._search.calc(current, earlier, None), np.float32)  # type: ignore
        matches = self._matches(depth, pixels, flow[pixels[:, 0], pixels[:, 1]])
        return ransac(matches, self.camera)

    def _estimate_near(
        self, current: Image, earlier: Image, depth: Floats, pixels: Places,
        guess: Matrix, keep_flow: bool = False, offset: float | None = None,
    ) -> EgoMotion:
        """Return the motion near a guess, from the flow that the guess does not explain."""
        expected = rigid_flow(depth, guess, self.camera)
        remainder = np.asarray(self._flow.calc(  # type: ignore[call-overload]
            current, warp(earlier, expected), None), np.float32)

        # The matches need the flow at their own pixels only: that is cheaper than everywhere.
        total = _composed(remainder, expected) if keep_flow else None
        rows, columns = pixels[:, 0], pixels[:, 1]
        matches = self._matches(depth, pixels, (
            _composed_at(remainder, expected, rows, columns) if total is None else
            total[rows, columns]))

        # Outside of the earlier image, the flow was found on repeated border pixels.
        height, width = depth.shape
        inside: Mask = np.all(
            (matches.earlier >= 0) & (matches.earlier <= (width - 1, height - 1)), axis=1)
        matches = matches.take(inside)

        whole = offset or 0.0
        fit = refine(guess, matches, self.camera, information=START,
                     offset_sigma=0.0 if offset is None else OFFSET_SIGMA)
        if abs(whole + fit.offset) > LARGEST_OFFSET:
            fit = refine(guess, matches, self.camera, information=START)
        return EgoMotion(
            fit.pose, quality(fit), len(matches.points), total, whole + fit.offset)

    def _matches(
        self, depth: Floats, pixels: Places, flow: Floats,
    ) -> Matches:
        """Return the matches of some pixels, without those that have no finite flow."""
        known = np.isfinite(flow).all(1)
        pixels = pixels[known]
        flow = flow[known]

        # Back-projection: X = Z (u - cx) / fx, Y = Z (v - cy) / fy
        places = pixels[:, ::-1].astype(np.float64)
        distance = depth[pixels[:, 0], pixels[:, 1]].astype(np.float64)
        camera = self.camera
        points = np.stack([(places[:, 0] - camera.cx) / camera.fx * distance,
                           (places[:, 1] - camera.cy) / camera.fy * distance, distance], 1)
        return Matches(points, places, places + flow)


def shifted_depth(depth: Floats, offset: float) -> Floats:
    """
    Return depth whose inverse is larger by an offset.

    :param depth: (H, W) float32 metres, positive.
    :param offset: 1/m.
    :return: (H, W) float32, 0.5 to 80 m.
    """
    inverse = np.float32(1) / np.clip(depth, np.float32(0.5), np.float32(FARTHEST_M))
    shifted = np.clip(inverse + np.float32(offset), 1 / FARTHEST_M, 2.0)
    return np.asarray(1 / shifted, np.float32)


def _composed(remainder: Floats, expected: Floats) -> Floats:
    """
    Return the whole flow w of images that were compared after a warp, (H, W, 2).

    The remainder r leads from a pixel x to a pixel of the warped image, the expected flow e from
    there to the earlier image: w(x) = r(x) + e(x + r(x)).
    """
    height, width = remainder.shape[:2]
    return remainder + cv2.remap(
        expected, remainder[..., 0] + np.arange(width, dtype=np.float32),
        remainder[..., 1] + np.arange(height, dtype=np.float32)[:, None], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE)


def _composed_at(
    remainder: Floats, expected: Floats, rows: Places, columns: Places,
) -> Floats:
    """Return :func:`_composed` at N pixels only, (N, 2)."""
    if not len(rows):
        return np.zeros((0, 2), np.float32)
    here = remainder[rows, columns]
    there = cv2.remap(
        expected, (here[:, 0] + columns).astype(np.float32),
        (here[:, 1] + rows).astype(np.float32),
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(here + there.reshape(-1, 2), np.float32)


def quality(fit: Fit) -> float:
    """
    Return how reliable a fit is, 0 to 1.

    The share of the matches that agree with it, lowered where the matches are too few or too
    badly placed to determine the translation to a tenth of its length.
    """
    if len(fit.chi) < 12:
        return 0.0
    agree = float((fit.chi < AGREES).mean())

    # Standard deviation of the translation; 0.02 m of it are always allowed, as near standstill a
    # tenth of the travel is nothing.
    covariance = np.linalg.pinv(fit.information)
    deviation_m = float(np.sqrt(max(np.trace(covariance[3:, 3:]), 0.0)))
    travel = float(np.linalg.norm(fit.pose[:3, 3]))
    return agree / (1 + max(0.0, deviation_m - 0.02) / (0.1 * travel + 0.02))
