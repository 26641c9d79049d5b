"""The plant core: ticks, snapshots, commands and alarms of one plant, on the three seams."""
