"""3. Who runs when: Ray Tune places the trials that the ledger asks for. The only import of ray.

`run` tells the story. Nothing is imported here: a worker needs `worker` alone, and must start fast.
"""

import os
import secrets

# Ray reads these when it is imported. A local Ray would listen on every network interface, whatever address it is
# given, unless it takes this machine for one that cannot be part of a cluster; it would also look for a cluster on
# loopback at the machine's other address. Joining a cluster elsewhere needs the interfaces.
if not os.environ.get("RAY_ADDRESS") or os.environ["RAY_ADDRESS"].rpartition(":")[0] in ("127.0.0.1", "localhost"):
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
# Whoever reaches the ports of a Ray may run programs on it, on loopback every user of the machine. A Ray of our own
# asks for a token that only its processes know; without this, Ray would write one into a file that all may read.
if not os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if not (os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
# The driver stops cleanly by itself, on SIGTERM too, and the ledger is the record of the sweep: Tune's own signal
# handler, progress output, result files and snapshots (which grow with the number of trials) are not wanted.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", str(10**9))
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
# A trial without a GPU must not see one (and Ray warns until this is set).
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
