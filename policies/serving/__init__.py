"""Policies behind a WebSocket: our server and client, and a client for openpi's servers.

Messages are MessagePack with NumPy arrays as openpi writes them. A client needs neither torch nor the policy's code.
The frames are described in docs/own-policy.md.
"""
