# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Light and cameras of the look ``roads``: blown skies, dark streets, harder tones."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic.appearance import Appearance, draw_appearance
from mtl_perception.synthetic.lens import Lens


def draw_light(rng: np.random.Generator) -> Appearance:
    """Return the appearance of one street."""
    plain = draw_appearance(rng)
    if plain.weather == 'night':
        return replace(plain, contrast=float(rng.uniform(1.0, 1.5)))

    # The sun may be anywhere from low to high, and shades are darker than the classic ones.
    height = np.radians(rng.uniform(8, 65))
    turn = rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(height) * np.sin(turn), -np.sin(height), np.cos(height) * np.cos(turn)])
    ambient = plain.ambient * rng.uniform(0.5, 1.0)
    sunlight = plain.sunlight * rng.uniform(0.9, 1.5)

    # A camera that exposes for the street clips the sky; one that exposes for the sky drowns the
    # street. In between is a sky of any brightness.
    sky = float(np.exp(rng.uniform(0.0, 1.6)))
    exposure = plain.exposure * float(np.exp(rng.normal(0.05, 0.35)))
    if rng.random() < 0.18:
        exposure *= float(rng.uniform(0.25, 0.6))
        sky *= float(rng.uniform(1.2, 3.0))

    grey = float(rng.uniform(0, 1))
    zenith, horizon, cloud = (
        (colour + (colour.mean() - colour) * grey) * sky
        for colour in (plain.zenith, plain.horizon, plain.cloud))
    return replace(
        plain, sun=sun, ambient=ambient, sunlight=sunlight, zenith=zenith, horizon=horizon,
        cloud=cloud, exposure=exposure, haze=plain.haze / (0.6 + 0.8 * sky),
        contrast=float(rng.uniform(0.95, 1.9)), saturation=float(rng.uniform(0.45, 1.25)),
        tint=1 + rng.normal(0, 0.05, 3), vignette=float(rng.uniform(0, 0.45)),
        grain=float(rng.uniform(0.5, 5.0)), soft=float(rng.uniform(0.15, 0.7)))


class RoadLens(Lens):
    """
    A camera with chroma noise, a dirty lens, the car's own bonnet and JPEG.

    Its parameters are those of :class:`~mtl_perception.synthetic.lens.Lens`.
    """

    def __init__(self, appearance: Appearance, width: int, height: int, seed: int) -> None:
        super().__init__(appearance, width, height, seed)
        rng = np.random.default_rng([seed, 52])
        self._quality = int(rng.integers(35, 96)) if rng.random() < 0.6 else 0
        self._sharp = float(rng.uniform(0.3, 1.2)) if rng.random() < 0.3 else 0.0

        # Blotches of colour are noise at a quarter of the resolution.
        coarse = rng.normal(0, rng.uniform(0, 4), (height // 4 + 2, width // 4 + 2, 3))
        blotch = cv2.resize(coarse.astype(np.float32), (width, height))
        self._chroma = np.rint(blotch - blotch.mean(2, keepdims=True)).astype(np.int16)
        self._dirt = self._spots(rng, width, height) if rng.random() < 0.15 else None

    @staticmethod
    def _spots(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
        """Return (H, W, 1) float32, what dirt and drops on the lens let through."""
        veil = np.zeros((height, width), np.float32)
        for _ in range(int(rng.integers(3, 25))):
            middle = (int(rng.integers(width)), int(rng.integers(height)))
            cv2.circle(veil, middle, int(rng.uniform(0.004, 0.03) * width), 1.0, -1)
        soft = cv2.GaussianBlur(veil, (0, 0), 0.012 * width)
        return np.asarray(1 - 0.45 * soft[..., None], np.float32)

    def develop(self, light: NDArray[np.float32], index: int) -> NDArray[np.uint8]:
        """Return the image that the camera takes, see :meth:`.Lens.develop`."""
        if self._dirt is not None:
            haze = np.asarray(self.appearance.horizon * 0.5, np.float32)
            light = light * self._dirt + haze * (1 - self._dirt)
        picture = super().develop(light, index)
        if self._sharp:
            soft = cv2.GaussianBlur(picture, (0, 0), 1.2)
            picture = np.asarray(
                cv2.addWeighted(picture, 1 + self._sharp, soft, -self._sharp, 0), np.uint8)

        picture = np.asarray(cv2.add(picture, self._chroma, dtype=cv2.CV_8U), np.uint8)
        if not self._quality:
            return picture
        _, code = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
