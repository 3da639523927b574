"""What a name on the command line means: environments and policies, ours and others, and how a worker makes them."""
