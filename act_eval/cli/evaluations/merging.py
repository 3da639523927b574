"""Make one run or sweep of its parts and say what came of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from act_eval.cli import OK
from act_eval.cli.evaluations.concluding import conclude
from act_eval.cli.sweeps.merging import is_sweep, merge_sweeps
from act_eval.errors import UsageError
from act_eval.results import merge_runs, sources

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
    if any(map(is_sweep, flags.parts)):
        folders = list(dict.fromkeys(flags.parts))
        return merge_sweeps(folders, _folder(flags.out, folders), console)
    parts = sources(flags.parts)
    out = _folder(flags.out, [part.run for part in parts])
    manifest, results = merge_runs(parts, out)
    console.print(f"merged  {', '.join(str(part.run) for part in parts)}", markup=False)
    conclude(out, manifest, results, console)
    return OK


def _folder(out: Path | None, folders: Sequence[Path]) -> Path:
    """Return where the merged run or sweep is to lie.

    Raises:
        UsageError: if that is not said and the parts lie in several folders.
    """
    if out is None and len(folders) > 1:
        raise UsageError(f"--out is needed: the parts lie in {len(folders)} folders ({folders[0]}, {folders[1]}, …)")
    return out or folders[0]
