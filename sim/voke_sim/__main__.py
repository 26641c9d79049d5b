"""``python -m voke_sim``: a simulated inverter and a local Voke, for trying Plant files by hand."""

from voke_sim.by_hand import main

if __name__ == "__main__":
    main()
