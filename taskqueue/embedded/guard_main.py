"""Started as a script by whoever needs a guard: `guard_main.py FOLDER BINARY SOCKET LINGER REPORT`.

The packages around the guard are replaced by empty ones that know where their modules are: it
needs none of what `taskqueue/__init__.py` imports, and would wait for it, and carry it, for nothing.
"""

import sys
from pathlib import Path
from types import ModuleType

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    for name, directory in (("taskqueue", here.parent), ("taskqueue.embedded", here)):
        package = ModuleType(name)
        package.__path__ = [str(directory)]
        sys.modules[name] = package

    from taskqueue.embedded.guard import main

    sys.exit(main(sys.argv[1:]))
