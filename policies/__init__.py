"""ACT and ACT-RTC: networks, losses, normalisation, checkpoints, training. Never imports MuJoCo."""

if not __name__.startswith("act_eval."):
    raise ImportError("import `act_eval.policies`; the folder `policies` is not a package of its own")
