# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Speed of the street: ``python -m mtl_perception.synthetic.benchmark``.

CPU time on one core, so that other programs hardly disturb it.
"""

import statistics
import time

import cv2

from mtl_perception.synthetic import Street


def frames_per_second(
        antialias: bool, seeds: int = 4, frames: int = 60, width: int = 384,
        height: int = 224) -> float:
    """
    Return frames per CPU second with all labels and boxes, the median over streets.

    The frames are consecutive at 10 Hz, so the time includes building new ground and houses, but
    not the first frame of a street.

    :param antialias: whether colours are antialiased.
    :param seeds: number of streets.
    :param frames: frames of each.
    :param width: pixels.
    :param height: pixels.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:

        rates = []
        for seed in range(seeds):
            street = Street(seed, width=width, height=height, antialias=antialias)
            street.render(0)
            begin = time.process_time()
            for index in range(1, frames + 1):
                street.render(index)
            rates.append(frames / (time.process_time() - begin))
    finally:
        cv2.setNumThreads(threads)
    return statistics.median(rates)


def main() -> None:
    """Print both rates at 384x224."""
    for antialias, text in ((False, 'all labels, colour without antialiasing'),
                            (True, 'all labels, antialiased colour')):
        print(f'{frames_per_second(antialias):5.1f} frames/s  {text}')


if __name__ == '__main__':
    main()
