"""The operator as a process: what it shows of itself, and how it asks its gateways."""
