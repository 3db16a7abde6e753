"""A real Valkey or Redis server that belongs to a folder and to nobody in particular.

Every process that uses the folder holds a locked file in it. A small guard process owns the
server: it restarts one that crashed, and shuts it down some seconds after the last user has gone,
however that one went, since the kernel releases the locks of a process that was killed.

    user ──holds──> users/<pid>-<random>.<fsync>     guard ──holds──> guard.lock, owns the server
    whoever starts or ends a guard ──holds──> door.lock, so that the two never cross

At rest the folder contains `data/` and nothing else.

The guard has to start in milliseconds and stay small. So the modules that it runs (`layout`,
`locks`, `users`, `wire`, `process`, `guard`) import only cheap parts of the standard library, and
`guard_main` loads them without the package around them.
"""

from taskqueue.embedded.binary import find_server_binary
from taskqueue.embedded.folders import default_folder
from taskqueue.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer", "default_folder", "find_server_binary"]
