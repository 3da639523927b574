"""Wait for what a page comes to. Playwright's own waiting evaluates strings, which the page's policy forbids."""

import time
from typing import Any

PATIENCE_S = 60.0


def until(page: Any, condition: str) -> None:
    """Wait until a JavaScript expression is true.

    Raises:
        AssertionError: naming it, if it does not become true within a minute.
    """
    end = time.monotonic() + PATIENCE_S
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"never came true: {condition}"
        page.wait_for_timeout(40)
