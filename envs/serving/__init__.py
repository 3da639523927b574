"""Environments in another process or on another machine.

`ServedEnv` is a Gymnasium environment with the spaces, metadata, hooks, errors and renderings of one that an
`EnvSession` holds elsewhere. Messages are those of policy servers (`act_eval.serving`).
"""
