"""The control plane: Plants become Secrets, shards and status."""
