"""Measurements of speed: each module is a script; `compiling` is what `scripts/benchmark_compile.py` runs."""
