"""Probes: which declared inputs move a policy's chunks, and which block they then choose."""

from act_eval.probes.bank import Bank, collect_bank
from act_eval.probes.changes import Change, changes
from act_eval.probes.controls import Blinded
from act_eval.probes.probing import ProbeReport, probe
from act_eval.probes.verdicts import InputVerdict

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
