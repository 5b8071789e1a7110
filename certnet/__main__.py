"""``python -m certnet``."""

import sys

from certnet.cli import main

sys.exit(main())
