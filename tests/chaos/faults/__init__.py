"""What can be done to a run: `FAULTS`, by name."""

import re
from collections.abc import Mapping

from tests.chaos.faults.clients import CLIENTS
from tests.chaos.faults.clocks import CLOCKS
from tests.chaos.faults.failovers import FAILOVERS
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.handlers import HANDLERS
from tests.chaos.faults.network import NETWORK
from tests.chaos.faults.servers import SERVERS
from tests.chaos.faults.shortage import SHORTAGE
from tests.chaos.faults.storms import STORMS
from tests.chaos.faults.webhooks import WEBHOOKS
from tests.chaos.faults.workers import WORKERS

_ALL = (
    *WORKERS, *SERVERS, *NETWORK, *FAILOVERS, *SHORTAGE, *CLOCKS, *HANDLERS, *CLIENTS, *WEBHOOKS,
    *STORMS,
)  # fmt: skip


def _place(fault: Fault) -> tuple[int, str]:
    return int(re.sub(r"[^0-9]", "", fault.name)), fault.name


FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in sorted(_ALL, key=_place)}

__all__ = ["FAULTS", "Fault"]
