# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weather, light and camera of a street, drawn so that streets differ in appearance."""

from dataclasses import dataclass

import numpy as np

from mtl_perception.synthetic.mesh import Array

WEATHERS = ('clear', 'hazy', 'overcast', 'dusk', 'night', 'rain', 'fog')
SHARES = (0.34, 0.16, 0.24, 0.09, 0.05, 0.07, 0.05)


@dataclass(frozen=True, eq=False)
class Appearance:
    """
    Light and camera of one street; colours are linear RGB.

    :param weather: one of ``WEATHERS``.
    :param sun: (3,) unit vector towards the sun (y is down, so its y is negative).
    :param sunlight: (3,) light of the sun on a face turned towards it.
    :param ambient: (3,) light of the sky on a face turned upwards.
    :param zenith: (3,) sky overhead.
    :param horizon: (3,) sky at the horizon; also the colour of the haze.
    :param cloud: (3,) colour of clouds.
    :param cover: share of the sky under clouds, 0 to 1.
    :param haze: extinction per metre.
    :param lights: brightness of lamps, 0 = off.
    :param exposure: factor on all light.
    :param contrast: exponent of the tone curve.
    :param saturation: 1 = unchanged.
    :param tint: (3,) white balance.
    :param grain: noise of the sensor in 8-bit levels.
    :param vignette: darkening in the corners, 0 to 1.
    :param soft: standard deviation of the optics' blur in pixels at 384 pixels of width.
    :param streaks: density of rain.
    """

    weather: str
    sun: Array
    sunlight: Array
    ambient: Array
    zenith: Array
    horizon: Array
    cloud: Array
    cover: float
    haze: float
    lights: float
    exposure: float
    contrast: float
    saturation: float
    tint: Array
    grain: float
    vignette: float
    soft: float
    streaks: float


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """Return the appearance of one street."""
    # Sun: its height above the horizon and its direction
    weather = str(rng.choice(WEATHERS, p=SHARES))
    height = np.radians(rng.uniform(18, 62))
    turn = rng.uniform(0, 2 * np.pi)
    if weather == 'dusk':
        height = np.radians(rng.uniform(5, 16))
    sun = np.array([np.cos(height) * np.sin(turn), -np.sin(height), np.cos(height) * np.cos(turn)])
    warm = np.array([1.0, 0.93, 0.82]) if weather != 'dusk' else np.array([1.0, 0.62, 0.36])

    # Clear weather, from which the others deviate
    sunlight = warm * rng.uniform(1.3, 2.2)
    ambient = np.array([0.52, 0.60, 0.72]) * 0.9
    zenith = np.array([0.16, 0.33, 0.75])
    horizon = np.array([0.62, 0.74, 0.90])
    cloud = np.array([1.0, 1.0, 1.0])
    cover = float(rng.uniform(0.0, 0.55))
    haze = float(rng.uniform(0.0006, 0.003))
    lights = 0.0
    exposure = 0.72
    streaks = 0.0

    if weather == 'hazy':
        sunlight = sunlight * 0.6
        haze = float(rng.uniform(0.003, 0.008))
        zenith = np.array([0.45, 0.58, 0.80])
        horizon = np.array([0.85, 0.88, 0.92])

    elif weather in ('overcast', 'rain', 'fog'):
        grey = rng.uniform(0.75, 1.0)
        sunlight = sunlight * rng.uniform(0.0, 0.12)
        ambient = np.array([0.80, 0.82, 0.86]) * 1.15
        zenith = np.array([0.72, 0.75, 0.80]) * grey
        horizon = np.array([0.92, 0.93, 0.95]) * grey
        cloud = np.array([0.55, 0.57, 0.60])
        cover = float(rng.uniform(0.3, 0.8))
        haze = float(rng.uniform(0.002, 0.006))
        exposure = 0.86

        if weather == 'rain':
            ambient = ambient * 0.85
            streaks = float(rng.uniform(0.3, 1))
            lights = 0.7
            haze = float(rng.uniform(0.004, 0.010))
        elif weather == 'fog':
            haze = float(rng.uniform(0.012, 0.028))
            lights = 0.8

    elif weather == 'dusk':
        sunlight = sunlight * 0.8
        ambient = np.array([0.40, 0.40, 0.52]) * 0.75
        zenith = np.array([0.16, 0.22, 0.45])
        horizon = np.array([0.95, 0.62, 0.38])
        cloud = np.array([0.9, 0.5, 0.4])
        lights = 0.9
        exposure = 0.85

    elif weather == 'night':
        sunlight = sunlight * 0.0
        ambient = np.array([0.50, 0.42, 0.34]) * 0.32
        zenith = np.array([0.010, 0.014, 0.03])
        horizon = np.array([0.07, 0.06, 0.06])
        cloud = np.array([0.05, 0.045, 0.04])
        lights = 1.6
        exposure = 1.1

    # The camera's own marks are drawn in the order of the fields.
    return Appearance(
        weather, sun, sunlight, ambient, zenith, horizon, cloud, cover, haze, lights,
        exposure=exposure * float(rng.uniform(0.75, 1.3)),
        contrast=float(rng.uniform(0.9, 1.2)),
        saturation=float(rng.uniform(0.6, 1.15)),
        tint=1 + rng.uniform(-0.06, 0.06, 3),
        grain=float(rng.uniform(1.0, 5.0)) * (1.7 if weather == 'night' else 1),
        vignette=float(rng.uniform(0.0, 0.35)),
        soft=float(rng.uniform(0.25, 0.75)),
        streaks=streaks)
