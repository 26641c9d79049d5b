"""Simulated PLCs: Modbus TCP servers with believable physics behind them and faults to switch on."""
