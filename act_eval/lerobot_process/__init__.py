"""Policies of LeRobot in a process of their own, whose Python has LeRobot; only that process imports these modules.

`boot.py` is run by its path. `act_eval.sources.lerobot` starts it and is its client.
"""
