# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Random changes of a clip's look and view; one draw for all of its frames and labels."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import ConfigurationError

_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


@dataclass(frozen=True)
class Augmentation:
    """
    How much a clip may change; 0 everywhere changes nothing.

    Each strength is the largest change in either direction, drawn evenly. With zoom, a part of the
    image is enlarged to the size of the whole, in every frame and label alike. What that means for
    depth has to be said: the same enlarged image comes from a longer lens or a nearer scene, and
    the published codes differ (MTAN's divides depth by the zoom, XTasC-Net's leaves it).

    :param flip: probability of mirroring left to right, labels included.
    :param brightness: factor exp(+-brightness) on all values.
    :param frame_brightness: the same, drawn anew for each frame of a clip.
    :param contrast: factor exp(+-contrast) around middle grey.
    :param gamma: exponent exp(+-gamma).
    :param saturation: factor exp(+-saturation) on the distance from grey.
    :param hue: turn of the colour circle, degrees.
    :param tint: factor exp(+-tint) on each colour channel.
    :param noise: largest standard deviation of the noise of a pixel, 0 to 255.
    :param blur: probability of a Gaussian blur.
    :param blur_sigma: largest standard deviation of the blur, pixels at 384 columns.
    :param zoom: the view is enlarged by up to 1 + zoom, its place drawn evenly.
    :param nearer: True divides depth by the zoom, as if the same lens saw a scene that is nearer:
        right for a network that learns one focal length. False leaves depth, as a longer lens
        does. Either way a disparity in pixels (focal length x baseline / depth) grows with it.
    :raises ConfigurationError: if zoom is negative.
    """

    flip: float = 0.5
    brightness: float = 0.3
    frame_brightness: float = 0.03
    contrast: float = 0.3
    gamma: float = 0.3
    saturation: float = 0.5
    hue: float = 12.0
    tint: float = 0.08
    noise: float = 8.0
    blur: float = 0.25
    blur_sigma: float = 1.2
    zoom: float = 0.0
    nearer: bool = True

    def __post_init__(self) -> None:
        if self.zoom < 0:
            raise ConfigurationError(
                f'zoom is {self.zoom:g}; it must be at least 0, for there is nothing to show '
                'around an image')

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """
        Return a changed copy; the same generator state gives the same copy.

        :param sample: the clip; it is not modified.
        :param generator: what the draw is taken from.
        """
        if generator.random() < self.flip:
            sample = sample.flipped()
        if self.zoom:
            sample = self._zoomed(sample, generator)
        curve = self._curve(generator)
        colours = self._colour_matrix(generator)
        noise = generator.uniform(0, self.noise) if self.noise else 0.0
        sigma = 0.0
        if generator.random() < self.blur:
            sigma = generator.uniform(0.3, self.blur_sigma) * sample.image.shape[2] / 384
        frames = []
        for frame in sample.image:
            gain = np.exp(generator.uniform(-self.frame_brightness, self.frame_brightness))
            table = np.clip(curve * gain, 0, 255).round().astype(np.uint8)
            changed = cv2.transform(cv2.LUT(np.ascontiguousarray(frame), table), colours)
            if sigma > 0.1:
                changed = cv2.GaussianBlur(changed, (0, 0), sigma)
            if noise:
                grain = generator.standard_normal(changed.shape, np.float32) * np.float32(noise)
                changed = np.clip(changed + grain, 0, 255).round().astype(np.uint8)
            frames.append(changed)
        return replace(sample, image=np.stack(frames).astype(np.uint8, copy=False))

    def _zoomed(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Return an enlarged part of every frame and label."""
        height, width = sample.image.shape[1:3]
        columns = max(1, round(width / generator.uniform(1, 1 + self.zoom)))
        rows = max(1, round(height * columns / width))
        top, left = generator.integers([height - rows + 1, width - columns + 1])
        part = sample.cropped(int(top), int(left), rows, columns)
        if self.nearer and part.depth is not None:
            nearer = (part.depth * (columns / width)).astype(part.depth.dtype)
            part = replace(part, depth=nearer)
        return part.resized(height, width)

    def _curve(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Return what becomes of each of the 256 values."""
        gamma, contrast, brightness = (
            np.exp(generator.uniform(-strength, strength))
            for strength in (self.gamma, self.contrast, self.brightness))
        values = (np.arange(256) / 255) ** gamma
        values = ((values - 0.5) * contrast + 0.5) * brightness
        return np.asarray(values * 255)

    def _colour_matrix(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Return the (3, 3) matrix on RGB that changes saturation, hue and tint."""
        saturation = np.exp(generator.uniform(-self.saturation, self.saturation))
        angle = np.deg2rad(generator.uniform(-self.hue, self.hue))
        cosine, sine = saturation * np.cos(angle), saturation * np.sin(angle)
        turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
        tint = np.exp(generator.uniform(-self.tint, self.tint, 3))
        matrix: NDArray[np.float64] = np.diag(tint) @ np.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ
        return matrix
