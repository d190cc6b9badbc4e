"""The command `minimind`, but with fewer questions at the end of a stage, so that a run is done in seconds."""

import sys

import minimind.training.answering as answering
from minimind.cli import main
from minimind.training import lora

SMALL = ((answering, 2), (sys.modules[lora.__module__], 8))
"""How many questions are asked, by the module that asks them."""

if __name__ == "__main__":
    for module, cases in SMALL:
        module.CASES = cases
    sys.exit(main())
