"""The batch scoring job: ``python serving/batch.py RUN.yaml [section.key=value ...]``, as ``ctrgate score``."""

from __future__ import annotations

import sys

from ctrgate.cli import main

if __name__ == "__main__":
    sys.exit(main(["score", *sys.argv[1:]]))
