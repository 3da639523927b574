"""MuJoCo scenes: the SO-101 arm, table, blocks, tray, cameras and the workspace they share."""

if not __name__.startswith("act_eval."):
    raise ImportError("import `act_eval.scenes`; the folder `scenes` is not a package of its own")
