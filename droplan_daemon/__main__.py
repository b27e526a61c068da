"""`python -m droplan_daemon` is `droplan`."""

import sys

from .cli import main

sys.exit(main())
