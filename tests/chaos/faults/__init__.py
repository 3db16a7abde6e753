"""What can be done to a run: `FAULTS`, by name."""

from collections.abc import Mapping

from tests.chaos.faults.fault import Fault
from tests.chaos.faults.network import NETWORK
from tests.chaos.faults.servers import SERVERS
from tests.chaos.faults.workers import WORKERS

FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in sorted(
        (*WORKERS, *SERVERS, *NETWORK), key=lambda fault: (int(fault.name[1:].rstrip("abcd")), fault.name)
    )
}

__all__ = ["FAULTS", "Fault"]
