"""Benchmark of `torch.compile` on ACT and ACT-RTC: equal first, then faster, against our eager code and LeRobot's."""
