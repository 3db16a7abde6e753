"""From a URL to clients of a server: `Connector.parse(url)`, and what a URL may say, in `address`."""

from taskqueue.connect.address import Kind
from taskqueue.connect.connector import Client, Connector
from taskqueue.connect.wire import BlockingWires, Wire, close_client

__all__ = ["BlockingWires", "Client", "Connector", "Kind", "Wire", "close_client"]
