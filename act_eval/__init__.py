"""Closed-loop evaluation of action-chunking robot policies under simulated inference delay."""

__version__ = "0.1.0"
