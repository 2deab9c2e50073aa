"""`python -m monitor_auto`: the same commands as `monitor-auto`, where the script is not on the PATH."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
