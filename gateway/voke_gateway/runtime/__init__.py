"""The process around the plants: what it is to do, how it is watched, how it starts and stops."""
