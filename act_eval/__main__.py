"""`python -m act_eval COMMAND …`, the same as `act-eval COMMAND …`."""

import sys

from act_eval.cli import main

if __name__ == "__main__":
    sys.exit(main())
