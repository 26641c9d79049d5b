"""``python -m voke_sim.plc``: a farm of static PLCs."""

from voke_sim.plc.farm import main

if __name__ == "__main__":
    main()
