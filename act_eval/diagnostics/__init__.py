"""Probes: which declared inputs move a policy's chunks, and which block they then choose."""

from act_eval.diagnostics.changes import Change, changes
from act_eval.diagnostics.controls import Blinded
from act_eval.diagnostics.observation_set import Bank, collect_bank
from act_eval.diagnostics.probe import ProbeReport, probe
from act_eval.diagnostics.verdicts import InputVerdict

__all__ = [
    "Bank",
    "Blinded",
    "Change",
    "InputVerdict",
    "ProbeReport",
    "changes",
    "collect_bank",
    "probe",
]
