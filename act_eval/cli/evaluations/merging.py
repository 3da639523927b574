"""Make one run of its parts and say what came of it."""

from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from act_eval.cli import OK
from act_eval.cli.evaluations.concluding import conclude
from act_eval.errors import UsageError
from act_eval.runs import merge_runs, sources

if TYPE_CHECKING:
    from act_eval.cli.merge import Flags


def merge(flags: "Flags", stream: TextIO) -> int:
    """Merge as the flags say; return the exit code.

    Raises:
        ActEvalError: with what is wrong with the flags or the parts.
    """
    console = Console(file=stream, highlight=False, soft_wrap=True)
    if not flags.parts:
        raise UsageError("nothing to merge; name run folders, or shards as in RUN/shards/2-of-8.jsonl")
    parts = sources(flags.parts)
    if flags.out is None and len(parts) > 1:
        raise UsageError(f"--out is needed: the parts lie in {len(parts)} folders ({parts[0].run}, {parts[1].run}, …)")
    out = flags.out or parts[0].run
    manifest, results = merge_runs(parts, out)
    console.print(f"merged  {', '.join(str(part.run) for part in parts)}", markup=False)
    conclude(out, manifest, results, console)
    return OK
