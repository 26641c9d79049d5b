"""The operator with client certificates that last for seconds: ``python -m tests.cluster.short_lived SECONDS …``."""

from __future__ import annotations

import sys
from datetime import timedelta

from voke_operator.__main__ import main
from voke_operator.credentials.material import Life

if __name__ == "__main__":
    _, seconds, *arguments = sys.argv
    longest = timedelta(seconds=float(seconds))
    sys.exit(main(arguments, life=Life(longest=longest, least=longest / 8, backdate=timedelta(0))))
