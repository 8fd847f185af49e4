# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""torch on CUDA in fp32 that is none other."""

import torch


def forbid_tf32() -> None:
    """
    Keep torch from TF32 in this process.

    By default it convolves numbers of fp32 in TF32, which has 10 bits of mantissa in place of 23.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
