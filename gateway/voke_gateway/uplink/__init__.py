"""The uplink: one MQTT 5 session per plant, and what makes delivery at least once."""
