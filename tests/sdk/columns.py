"""The providers of the matrix as JSON, for a matrix in another language: their models and their vendors' addresses.

Usage: columns.py PORT_FILE >columns.json
"""

import json
import pathlib
import sys

from providers import PROVIDERS, ROLES, SDKS, failing_model
from vendors.vendor import PICTURE


def columns(addresses: dict) -> dict:
    return {"picture": PICTURE.hex(), "providers": {name: provider(name, addresses[PROVIDERS[name][0]]) for name in PROVIDERS}}


def provider(name: str, vendor: str) -> dict:
    model, reasoning, embedding, _ = ROLES[name]
    return {"vendor": vendor, "model": model, "reasoning": reasoning, "embedding": embedding, "failing": {sdk: failing_model(name, sdk) for sdk in SDKS}}


if __name__ == "__main__":
    print(json.dumps(columns(json.loads(pathlib.Path(sys.argv[1]).read_text()))))
