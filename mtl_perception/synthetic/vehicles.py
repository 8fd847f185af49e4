# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Cars of many shapes, each a mesh that stands on the ground at the origin and faces +z.

The class ``car`` includes vans, lorries and buses.
"""

import itertools

import numpy as np

from mtl_perception.synthetic.mesh import Array, Mesh, box, faces, join
from mtl_perception.tasks import STREET_SEMANTIC

CAR = STREET_SEMANTIC.classes.index('car')
Quad = list[tuple[float, float, float]]

PAINTS = ((0.80, 0.80, 0.80), (0.62, 0.62, 0.62), (0.38, 0.39, 0.40), (0.16, 0.17, 0.18),
          (0.025, 0.025, 0.03), (0.012, 0.012, 0.012), (0.02, 0.05, 0.20), (0.03, 0.12, 0.36),
          (0.36, 0.02, 0.02), (0.20, 0.01, 0.015), (0.03, 0.11, 0.05), (0.40, 0.32, 0.20),
          (0.50, 0.22, 0.02), (0.62, 0.48, 0.06), (0.11, 0.06, 0.03), (0.10, 0.22, 0.28))
GLASS = (0.018, 0.022, 0.026)
RUBBER = (0.012, 0.012, 0.013)
DARK = (0.02, 0.02, 0.022)

# Metres: length, width, height, height of the belt line and of the bonnet. Shares of the length
# from the middle, + is front: base of the windscreen, front and rear edge of the roof, base of the
# rear window.
SHAPES = {
    'sedan': (4.6, 1.80, 1.45, 0.93, 0.80, 0.22, 0.06, -0.20, -0.36),
    'coupe': (4.3, 1.78, 1.32, 0.86, 0.74, 0.18, 0.00, -0.18, -0.42),
    'hatch': (4.0, 1.74, 1.50, 0.94, 0.84, 0.27, 0.11, -0.36, -0.48),
    'small': (3.5, 1.62, 1.52, 0.92, 0.86, 0.32, 0.17, -0.38, -0.49),
    'estate': (4.7, 1.80, 1.48, 0.94, 0.82, 0.23, 0.08, -0.40, -0.485),
    'suv': (4.6, 1.88, 1.72, 1.10, 1.00, 0.24, 0.10, -0.38, -0.48),
    'van': (5.1, 1.98, 2.05, 1.20, 1.08, 0.40, 0.26, -0.485, -0.495),
    'pickup': (5.2, 1.90, 1.78, 1.10, 1.05, 0.22, 0.09, -0.06, -0.12),
}
SHAPE_NAMES = (*SHAPES, 'lorry', 'bus')
SHAPE_SHARES = (0.19, 0.06, 0.20, 0.12, 0.12, 0.15, 0.08, 0.03, 0.03, 0.02)

MODELS = 24
MODELS = 24
"""Number of different cars in one street."""


def shape_of(rng: np.random.Generator) -> str:
    """Return the shape of a car; common shapes are drawn more often."""
    return str(rng.choice(SHAPE_NAMES, p=SHAPE_SHARES))


def model_random(seed: int, model: int) -> np.random.Generator:
    """Return the generator of a street's car; it decides first its shape, then the rest."""
    return np.random.default_rng([seed, 40, 0, model % MODELS])


def length_of(shape: str) -> float:
    """Return the length of a shape in metres before its individual scaling."""
    return {'lorry': 7.5, 'bus': 11.0}.get(shape) or SHAPES[shape][0]


def car(shape: str, rng: np.random.Generator, lights: float) -> Mesh:
    """
    Return one car.

    :param shape: one of ``SHAPE_NAMES``.
    :param rng: decides paint and proportions.
    :param lights: brightness of its lamps, 0 = off.
    """
    paint = np.array(PAINTS[int(rng.integers(len(PAINTS)))]) * rng.uniform(0.8, 1.15)
    braking = lights > 0 and rng.random() < 0.5
    if shape in SHAPES:
        parts, size = _body(SHAPES[shape], shape, paint, rng)
    else:
        parts, size = _heavy(shape, paint, rng)

    # Wheels
    length, width, low = size
    for z in (0.31 * length, -0.29 * length):
        radius = 0.33 if shape in SHAPES else 0.46
        for side in (-1.0, 1.0):
            parts += _wheel(side * width / 2, z, radius, side)

    # Lamps, number plates and grille
    front, rear = length / 2, -length / 2
    level = min(0.72, low + 0.40) if shape in SHAPES else 0.75
    for side in (-1.0, 1.0):
        x = side * width * 0.36
        parts.append(_plate(x, level, front + 0.012, 0.34, 0.14, (0.75, 0.75, 0.70), 1, lights))
        red = 2.0 * lights if braking else 0.7 * lights
        parts.append(_plate(x * 1.06, level + 0.10, rear - 0.012, 0.26, 0.20, (0.42, 0.01, 0.01),
                            -1, red))
    parts.append(_plate(0, level - 0.25, front + 0.012, 0.5, 0.11, (0.7, 0.7, 0.66), 1))
    parts.append(_plate(0, level - 0.05, rear - 0.012, 0.5, 0.12, (0.72, 0.66, 0.25), -1))
    parts.append(_plate(0, level - 0.02, front + 0.010, 0.75, 0.13, DARK, 1))
    return join(parts)


def _plate(x: float, y: float, z: float, wide: float, tall: float, colour: object,
           facing: int, glow: float = 0.0) -> Mesh:
    """Return an upright rectangle across the car, which looks to the front (+1) or rear (-1)."""
    corners = [(x - wide / 2, -y, z), (x + wide / 2, -y, z), (x + wide / 2, -y - tall, z),
               (x - wide / 2, -y - tall, z)]
    return faces([corners], np.asarray(colour), CAR, centre=(x, -y, z - facing), glow=glow)


def _wheel(x: float, z: float, radius: float, side: float) -> list[Mesh]:
    """Return tyre and rim of a wheel."""
    angle = (np.arange(8) + 0.5) * (np.pi / 4)

    def disc(r: float, out: float, colour: tuple[float, float, float]) -> Mesh:
        """Return an octagon that stands out of the tyre."""
        ring = np.stack([np.full(8, x + side * out), -radius + r * np.sin(angle),
                         z + r * np.cos(angle)], 1)
        quads = ring[[[0, 1, 2, 3], [0, 3, 4, 7], [4, 5, 6, 7]]]
        return faces(quads, colour, CAR, centre=(x - side, -radius, z))

    tread = box((x - side * 0.11, -radius, z), (0.21, radius * 1.5, radius * 1.25), RUBBER,
                CAR)
    return [tread, disc(radius, 0.010, RUBBER), disc(radius * 0.62, 0.020, (0.30, 0.30, 0.31))]


def _body(shape: tuple[float, ...], name: str, paint: Array,
          rng: np.random.Generator) -> tuple[list[Mesh], tuple[float, float, float]]:
    """Return the parts of a car, and its length, width and ground clearance in metres."""
    scale = rng.uniform(0.95, 1.07, 3)
    length = shape[0] * scale[0]
    width = shape[1] * scale[1]
    height, belt, bonnet = (value * scale[2] for value in shape[2:5])
    screen, roof_front, roof_rear, tail = (share * length for share in shape[5:])
    low = 0.26 if name == 'suv' else 0.20
    trunk = belt - 0.02 if name in ('sedan', 'coupe') else belt
    half = width / 2

    # Cross-sections from front to rear: z, half the width, height of the body
    stations = [
        (length * 0.5, half * 0.80, bonnet - 0.14), (length * 0.465, half * 0.95, bonnet - 0.04),
        (length * 0.36, half, bonnet + 0.02), (screen, half, belt),
        (tail, half, belt), (-length * 0.475, half * 0.96, trunk),
        (-length * 0.5, half * 0.86, trunk - 0.06)]

    middle = (0, -0.6, 0)
    body = faces(_shell(stations, low), paint, CAR, centre=middle, gloss=0.18)
    skirt = faces([[(-half * 0.9, -low - 0.02, z), (half * 0.9, -low - 0.02, z),
                    (half * 0.85, -0.14, z), (-half * 0.85, -0.14, z)]
                   for z in (length * 0.47, -length * 0.47)], DARK, CAR, centre=middle)

    # Corners of the cabin's right side: base of the windscreen, roof, base of the rear window
    base = half * 0.945
    roof = half * 0.76
    corners = {
        'a': (base, -belt, screen), 'b': (roof, -height, roof_front),
        'c': (roof, -height, roof_rear), 'd': (base, -belt, tail)}

    blind = name == 'van' and rng.random() < 0.6
    cabin, glass = _cabin(corners, paint, -belt, blind)
    return [body, skirt, cabin, glass], (float(length), float(width), low)


def _shell(stations: list[tuple[float, float, float]], low: float) -> list[Quad]:
    """Return the quads of a body between cross-sections, which bulges most at its sill."""
    sides: list[Quad] = []
    tops: list[Quad] = []
    sill = low + 0.25
    for (za, wa, ha), (zb, wb, hb) in itertools.pairwise(stations):
        for side in (-1, 1):
            sides.append([(side * wa * 0.94, -low, za), (side * wb * 0.94, -low, zb),
                          (side * wb, -sill, zb), (side * wa, -sill, za)])
            sides.append([(side * wa, -sill, za), (side * wb, -sill, zb),
                          (side * wb * 0.95, -hb, zb), (side * wa * 0.95, -ha, za)])
        tops.append([(-wa * 0.95, -ha, za), (wa * 0.95, -ha, za), (wb * 0.95, -hb, zb),
                     (-wb * 0.95, -hb, zb)])

    # Front and rear
    for z, w, h in (stations[0], stations[-1]):
        sides.append([(-w * 0.94, -low, z), (w * 0.94, -low, z), (w, -sill, z), (-w, -sill, z)])
        sides.append([(-w, -sill, z), (w, -sill, z), (w * 0.95, -h, z), (-w * 0.95, -h, z)])
    return sides + tops


def _cabin(right: dict[str, tuple[float, float, float]], paint: Array, y: float,
           blind: bool) -> tuple[Mesh, Mesh]:
    """
    Return the painted cabin and its windows, which lie on the paint.

    :param right: corners a, b, c, d of the right side, from the windscreen's base over the roof.
    :param y: of its bottom, metres.
    :param blind: without windows at the rear, as vans are.
    """
    left = {key: (-x, y, z) for key, (x, y, z) in right.items()}
    roof = [left['b'], right['b'], right['c'], left['c']]
    rear = [left['c'], right['c'], right['d'], left['d']]
    front = [left['a'], right['a'], right['b'], left['b']]
    sides = [[one[key] for key in 'abcd'] for one in (right, left)]
    cabin = faces([roof, *sides, front, rear], paint, CAR, centre=(0, y, 0), gloss=0.18)

    panes = [_inset(front, 0.06, 0.07)]
    if not blind:
        panes.append(_inset(rear, 0.10, 0.14))

    # Side windows, between shares of the way from the windscreen to the rear window
    cuts = [0.10, 0.40] if blind else [0.06, 0.47, 0.51, 0.90]
    for one in (right, left):
        a, b, c, d = (np.array(one[key]) for key in 'abcd')
        for start, stop in zip(cuts[::2], cuts[1::2], strict=True):
            lower = _mix(a, d, start), _mix(a, d, stop)
            upper = _mix(b, c, start), _mix(b, c, stop)
            panes.append(np.stack([
                _mix(lower[0], upper[0], 0.10), _mix(lower[1], upper[1], 0.10),
                _mix(lower[1], upper[1], 0.86), _mix(lower[0], upper[0], 0.86)]))

    glass = faces(_lifted(panes, (0, y, 0)), GLASS, CAR, centre=(0, y, 0), gloss=0.35)
    return cabin, glass


def _mix(a: Array, b: Array, share: float) -> Array:
    """Return the point at a share of the way from a to b."""
    return np.asarray(a + (b - a) * share)


def _inset(quad: object, sides: float, ends: float) -> Array:
    """Return a quad (bottom left, bottom right, top right, top left) shrunk within its plane."""
    a, b, c, d = np.asarray(quad, np.float64)
    low_left, high_left = _mix(a, d, ends), _mix(a, d, 1 - ends)
    low_right, high_right = _mix(b, c, ends), _mix(b, c, 1 - ends)
    return np.stack([_mix(low_left, low_right, sides), _mix(low_left, low_right, 1 - sides),
                     _mix(high_left, high_right, 1 - sides), _mix(high_left, high_right, sides)])


def _lifted(quads: list[Array], centre: tuple[float, float, float]) -> Array:
    """Return the quads moved 8 mm away from ``centre`` along their normals."""
    stack = np.stack(quads)
    normal = np.cross(stack[:, 2] - stack[:, 0], stack[:, 3] - stack[:, 1])
    normal /= np.sqrt((normal ** 2).sum(1, keepdims=True))
    away = ((stack.mean(1) - np.array(centre)) * normal).sum(1) < 0
    normal[away] *= -1
    return np.asarray(stack + 0.008 * normal[:, None])


def _heavy(shape: str, paint: Array,
           rng: np.random.Generator) -> tuple[list[Mesh], tuple[float, float, float]]:
    """Return the parts of a bus or a lorry, and its length, width and ground clearance."""
    length = length_of(shape) * rng.uniform(0.92, 1.05)
    width = 2.4
    low = 0.45
    half = width / 2

    if shape == 'bus':
        height = 3.0
        parts = [box((0, -(height + low) / 2, 0), (width, height - low, length), paint, CAR,
                     gloss=0.1)]
        panes = [[(side * (half + 0.01), -1.15, z), (side * (half + 0.01), -1.15, z + 1.25),
                  (side * (half + 0.01), -2.3, z + 1.25), (side * (half + 0.01), -2.3, z)]
                 for side in (-1, 1) for z in np.arange(-length / 2 + 0.3, length / 2 - 1.4, 1.4)]
        panes += [[(-1.1, -1.1, z), (1.1, -1.1, z), (1.1, -2.6, z), (-1.1, -2.6, z)]
                  for z in (length / 2 + 0.01, -length / 2 - 0.01)]

    else:
        height = rng.uniform(2.8, 3.4)
        cab = 1.9
        load = PAINTS[int(rng.integers(5))] if rng.random() < 0.7 else paint
        parts = [
            box((0, -1.35, length / 2 - cab / 2), (width * 0.95, 1.8, cab), paint, CAR, gloss=0.1),
            box((0, -(height + 0.85) / 2, -cab / 2 - 0.1),
                (width, height - 0.85, length - cab - 0.2), load, CAR),
            box((0, -0.65, -0.5), (width * 0.8, 0.5, length - 1.2), DARK, CAR)]

        z = length / 2 + 0.01
        x = half * 0.95 + 0.01
        panes = [[(-1.0, -1.35, z), (1.0, -1.35, z), (1.0, -2.1, z), (-1.0, -2.1, z)]]
        panes += [[(s * x, -1.35, z - 0.2), (s * x, -1.35, z - 1.2), (s * x, -2.1, z - 1.2),
                   (s * x, -2.1, z - 0.35)] for s in (-1, 1)]

    parts.append(faces(panes, GLASS, CAR, centre=(0, -1.6, 0), gloss=0.3))
    return parts, (float(length), width, low)
