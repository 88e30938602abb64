"""The simulated vendors' settings, and what only their owner can bring about."""

import json
import logging
import os
import urllib.request

from azure.core.pipeline.transport import RequestsTransport

SETTINGS: dict[str, str] = json.loads(os.environ["NBHD_VENDORS"])

# What `requests` and botocore trust beside the web: the simulators' own authority.
os.environ["REQUESTS_CA_BUNDLE"] = SETTINGS["CA_BUNDLE"]

# The SDK warns of every refused sign-in, which is what some of these tests are after.
logging.disable(logging.WARNING)


class Recording(RequestsTransport):
    """The Azure SDK's own transport, keeping the status of every answer."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[int] = []

    def send(self, request, **kwargs):
        response = super().send(request, **kwargs)
        self.statuses.append(response.status_code)
        return response


def asks(path: str) -> None:
    """Has something happen at a vendor that no client of it could do."""
    request = urllib.request.Request(SETTINGS["VENDORS_CONTROL_URL"] + path, method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 204, answer.status
