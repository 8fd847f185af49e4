# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From light to an image: vignette, white balance, tone curve, blur, rain, noise."""

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic.appearance import Appearance

_STEPS = 1400
"""Entries of the tone curve's table for light from 0 to 1."""


class Lens:
    """
    The camera's optics and sensor.

    :param appearance: light and camera of the street.
    :param width: pixels.
    :param height: pixels.
    :param seed: seed of the street.
    """

    def __init__(self, appearance: Appearance, width: int, height: int, seed: int) -> None:
        self.appearance = appearance
        self.seed = seed
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        radius = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 2
        shade = 1 - appearance.vignette * radius
        self._shade = np.repeat(shade[..., None], 3, 2).astype(np.float32)

        # Saturation and white balance as one matrix: tint * (s * colour + (1 - s) * grey)
        grey = np.array([0.30, 0.59, 0.11])
        mix = np.eye(3) * appearance.saturation + (1 - appearance.saturation) * grey[None]
        self._mix = (appearance.tint[:, None] * mix).astype(np.float32)

        # Tone curve, 255 * (1 - exp(-1.6 * exposure * light)) ^ (contrast / 2.2), tabulated over
        # the square root of light, which gives dark tones as many entries as bright ones.
        light = (np.arange(3 * _STEPS) / _STEPS) ** 2 * appearance.exposure
        curve = 1 - np.exp(-1.6 * light)
        self._curve = np.rint(255 * curve ** (appearance.contrast / 2.2)).astype(np.uint8)

        # Noise of the sensor, larger than the image, so that each frame can cut out another part
        rng = np.random.default_rng([seed, 30])
        scale = appearance.grain * np.array([1.0, 0.85, 1.15])
        field = rng.standard_normal((height + 97, width + 131, 3), np.float32) * scale
        self._grain = np.rint(field).astype(np.int16)
        self._soft = appearance.soft * width / 384

    def develop(self, light: NDArray[np.float32], index: int) -> NDArray[np.uint8]:
        """
        Return the image that the camera takes.

        :param light: (H, W, 3) float32 linear.
        :param index: of the frame; decides the noise.
        :return: (H, W, 3) uint8 RGB.
        """
        rng = np.random.default_rng([self.seed, 31, index])
        light = np.asarray(cv2.transform(light, self._mix), np.float32)
        light *= self._shade
        np.clip(light, 0, 8.9, out=light)

        picture = self._curve[(np.sqrt(light) * _STEPS).astype(np.int32)]
        if self.appearance.streaks > 0:
            picture = self._rain(picture, rng)

        if self._soft > 0.3:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), self._soft), np.uint8)
        height, width = picture.shape[:2]
        top = int(rng.integers(97))
        left = int(rng.integers(131))
        grain = self._grain[top:top + height, left:left + width]
        return np.asarray(cv2.add(picture, grain, dtype=cv2.CV_8U), np.uint8)

    def _rain(self, picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the image with streaks of rain."""
        height, width = picture.shape[:2]
        veil = np.zeros((height, width), np.uint8)
        count = int(130 * self.appearance.streaks)
        start = rng.uniform(0, 1, (count, 2)) * [width, height]
        step = rng.uniform(0.015, 0.06, count)[:, None] * height * np.array([0.12, 1.0])
        ends = np.rint(np.stack([start, start + step], 1) * 16).astype(np.int32)
        for first, last in ends:
            cv2.line(veil, first.tolist(), last.tolist(), int(rng.integers(12, 40)), 1,
                     cv2.LINE_AA, 4)
        return np.asarray(cv2.add(picture, cv2.cvtColor(veil, cv2.COLOR_GRAY2RGB)), np.uint8)
