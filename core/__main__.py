"""Start the command line as ``python -m core COMMAND …``; see `core.cli.parser`."""

import sys

from core.cli.parser import main

if __name__ == "__main__":
    sys.exit(main())
