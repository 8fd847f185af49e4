# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Networks: encoders, necks, decoders, and streaming over the frames of a video."""
