"""From a URL to clients of a server: `Connector.parse(url)`, and what a URL may say, in `address`."""

from taskqueue.connect.address import Kind
from taskqueue.connect.connector import Client, Connector

__all__ = ["Client", "Connector", "Kind"]
