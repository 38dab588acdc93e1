"""``python -m ringleader ...`` equals ``ringleader ...``."""

import sys

from ringleader.cli import main

if __name__ == "__main__":
    sys.exit(main())
