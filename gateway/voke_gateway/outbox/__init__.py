"""The outbox: what has to reach Voke and has not been acknowledged yet."""
