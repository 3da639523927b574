"""Policies behind a WebSocket: our server and client, and a client for openpi's servers.

MessagePack with NumPy arrays as openpi writes them, never pickle. A client needs neither torch nor the policy's
code; `websockets` and `msgpack` come with the extra `serve`. The frames are described in docs/own-policy.md.
"""

TOKEN = "ACT_EVAL_TOKEN"
"""Environment variable with the token of a policy server: a command line is visible to other users."""
