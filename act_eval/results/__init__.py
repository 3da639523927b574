"""The run folder: manifest, layout, resuming, and merging of shards.

`OUT/manifest.json` says how the run was made. While it runs, every process appends to its own file below
`OUT/shards/`; at the end each condition gets `episodes.jsonl` and `timings.jsonl` in suite order and the shards go.
`CONDITION/steps/` holds per-step arrays and `CONDITION/videos/` the recordings of single episodes.
"""

from act_eval.results.folder import TRACE, RunFolder, check_growing_run, delays_of, open_run
from act_eval.results.locks import locked
from act_eval.results.machine import fingerprint, machine, notes
from act_eval.results.manifest import SCHEMA, Manifest
from act_eval.results.merging import Source, check_sources, merge_runs, parse_sources
from act_eval.results.shards import JOBS, Shard, Shards, episodes_of, shards_of

__all__ = [
    "JOBS",
    "SCHEMA",
    "TRACE",
    "Manifest",
    "RunFolder",
    "Shard",
    "Shards",
    "Source",
    "check_growing_run",
    "check_sources",
    "delays_of",
    "episodes_of",
    "fingerprint",
    "locked",
    "machine",
    "merge_runs",
    "notes",
    "open_run",
    "parse_sources",
    "shards_of",
]
