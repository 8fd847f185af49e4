# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Small videos with exact times."""

from fractions import Fraction

import av
import numpy as np


def film(path, images, times=None, codec='mpeg4', **options):
    """Write a video of 10 frames per second, or with the given times in milliseconds."""
    with av.open(str(path), 'w', options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format='rgb24')
            frame.pts = 100 * number if times is None else times[number]
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
