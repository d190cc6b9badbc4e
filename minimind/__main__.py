"""`python -m minimind` is the command `minimind`."""

import sys

from .cli import main

sys.exit(main())
