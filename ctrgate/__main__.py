"""``python -m ctrgate`` is ``ctrgate``."""

from ctrgate.cli import main

raise SystemExit(main())
