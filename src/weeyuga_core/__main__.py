"""`python -m weeyuga_core` is `weeyuga-bench`."""

import sys

from weeyuga_core.cli import main

sys.exit(main())
