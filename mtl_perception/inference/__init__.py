# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Networks that are loaded and ready, and the stream that connects the frames of one camera."""
