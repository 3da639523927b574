"""`probe`: measure which declared inputs change a policy's output, and which block it then approaches."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from act_eval.cli.parsing import check_output, parse
from act_eval.config import ProbeConfig

OK, IGNORED_INPUT = 0, 3
"""Exit codes."""


@dataclass(frozen=True)
class Flags(ProbeConfig):
    """Measure which declared inputs change a policy's output. Exit code 0: no input is ignored; 3: at least one is."""

    json: Path | None = None
    """JSON file to write all numbers to."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and probe; return the exit code."""
    flags = parse(Flags, argv, prog)
    check_output(flags.json, "--json")
    from act_eval.cli.screen import console_for  # slow to import; help does not need it
    from act_eval.results.records import write_atomically, writing
    from act_eval.sources.probing import probe_inputs

    console = console_for(sys.stdout)
    console.print(f"loading {flags.policy} and {flags.env}", markup=False)
    report = probe_inputs(flags)
    console.print(report.text(console.width), markup=False)
    if flags.json is not None:
        values = {"policy": flags.policy, "env": flags.env, "seed": flags.seed, **report.to_json()}
        with writing(flags.json.parent):
            flags.json.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(flags.json, (json.dumps(values, indent=2) + "\n").encode())
        console.print(f"numbers {flags.json}", markup=False)
    return IGNORED_INPUT if report.ignored else OK
