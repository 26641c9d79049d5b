"""The gateway: many PLC connections in, one signed MQTT session per plant out."""
