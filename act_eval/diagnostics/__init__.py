"""Probes: which declared inputs move a policy's chunks, and which block they then choose."""

from act_eval.diagnostics.changes import Change, MaskedImages, changes
from act_eval.diagnostics.input_probe import InputVerdict, ProbeReport, probe
from act_eval.diagnostics.observation_set import ObservationSet, collect_observations

__all__ = [
    "Change",
    "InputVerdict",
    "MaskedImages",
    "ObservationSet",
    "ProbeReport",
    "changes",
    "collect_observations",
    "probe",
]
