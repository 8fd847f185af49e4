# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameter counts printed in the papers, for comparison with those of a network."""

from mtl_perception.manifest import NetworkSpec

MULTINET = 'MultiNet++, table 2'
MULTINET_DECODERS = {
    # task, channels, frames
    ('semantic', 20, 1): '0.18 M', ('semantic', 20, 2): '0.26 M',
    ('semantic', 13, 1): '95.34 K', ('semantic', 13, 2): '0.14 M',
    ('depth', 1, 1): '3.88 K', ('depth', 1, 2): '7.46 K',
    ('motion', 2, 1): '8.33 K', ('motion', 2, 2): '15.50 K',
}
MULTINET_TOTALS = {
    # number of semantic classes, has depth, has motion, frames
    (20, False, False, 1): '23.77', (0, True, False, 1): '23.59', (0, False, True, 1): '23.60',
    (20, True, False, 1): '23.77', (20, True, False, 2): '23.86',
    (20, False, True, 1): '23.78', (20, False, True, 2): '23.86',
    (20, True, True, 1): '23.79', (20, True, True, 2): '23.87',
    (13, False, False, 1): '23.68', (13, True, False, 1): '23.69', (13, True, False, 2): '23.74',
}
"""
Millions; Keras counts 79 680 more in the encoder, see
:func:`mtl_perception.models.encoders.resnet50`.
"""

XTASC = {'resnet18': '2.14e7', 'resnet34': '3.15e7', 'resnet50': '4.04e7'}
"""XTasC-Net, table V: with 7 classes, in tens of millions, truncated to two decimals."""


def published_count(spec: NetworkSpec, part: str) -> str:
    """
    Return the parameter count that a paper prints for a part of a network, empty without one.

    Kendall et al. and Leang et al. print no counts.

    :param spec: the architecture.
    :param part: ``encoder``, a task, or ``total``.
    """
    if spec.sharing != 'hard':
        return ''
    if _is_multinet(spec):
        if part == 'total':
            total = MULTINET_TOTALS.get((
                spec.channels.get('semantic', 0), 'depth' in spec.channels,
                'motion' in spec.channels, spec.frames))
            return f'{total} M with the 79 680 of Keras ({MULTINET})' if total else ''

        count = MULTINET_DECODERS.get((part, spec.channels.get(part, 0), spec.frames))
        return f'{count} ({MULTINET})' if count else ''
    if _is_xtasc(spec) and part == 'total':
        return f'{XTASC[spec.encoder]} (XTasC-Net, table V)'
    return ''


def _is_multinet(spec: NetworkSpec) -> bool:
    """Return whether a network is in table 2 of MultiNet++."""
    return (
        spec.encoder == 'resnet50' and spec.finest_stride == 8 and not spec.pyramid
        and not spec.aspp and spec.output_stride == 32 and spec.aggregation == 'concatenate'
        and all(spec.decoders.get(task, 'fcn8') == 'fcn8' for task in spec.channels))


def _is_xtasc(spec: NetworkSpec) -> bool:
    """Return whether a network is in table V of XTasC-Net."""
    return (
        spec.encoder in XTASC and spec.finest_stride == 2 and spec.transfer
        and spec.frames == 1 and not spec.decoder_width
        and spec.channels == {'semantic': 7, 'depth': 1}
        and set(spec.decoders.values()) == {'unet'} and len(spec.decoders) == 2)
