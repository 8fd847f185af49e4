# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder on a disk that is full after 2.5 MB."""

import resource

from mtl_perception.ros.recorder import main

if __name__ == '__main__':
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, resource.RLIM_INFINITY))
    raise SystemExit(main())
