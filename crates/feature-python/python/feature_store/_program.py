"""The program ``fstore``."""

from __future__ import annotations

import signal
import sys

from feature_store._native import run_program


def main() -> None:
    """Run ``fstore`` with the arguments of this process."""
    # Python's own handler would only run when the program has ended.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run_program(["fstore", *sys.argv[1:]]))
