"""Probes: which declared inputs move a policy's chunks, and which block they then choose."""

from act_eval.diagnostics.changes import Change, changes
from act_eval.diagnostics.controls import MaskedImages
from act_eval.diagnostics.input_probe import ProbeReport, probe
from act_eval.diagnostics.observation_set import ObservationSet, collect_observations
from act_eval.diagnostics.verdicts import InputVerdict

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
