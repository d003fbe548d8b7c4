"""The command `thaw`, and `python -m thaw`: the same as `python -m core` in a checkout."""

import sys

from thaw._paths import add_root

add_root()

from core.cli.parser import main  # noqa: E402 - needs the path

if __name__ == "__main__":
    sys.exit(main())
