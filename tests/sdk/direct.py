"""The unmodified SDKs against the simulated vendors themselves, without a gateway: the vendors answer as the SDKs expect.

Usage: direct.py PORT_FILE [ROWS]
"""

import json
import pathlib
import sys

from drivers.all import DRIVERS
from features.column import Column
from features.table import run
from refusals import check_refusals
from vendors.vendor import Vendor

# By SDK: the vendor, and the models for everything, for reasoning and for embeddings.
OWN = {
    "chat": ("openai", "gpt-4.1", "deepseek-chat", "text-embedding-3-small"),
    "responses": ("responses", "gpt-5.4", "gpt-5.4", "text-embedding-3-small"),
    "messages": ("anthropic", "claude-sonnet-4-6", "claude-opus-4-6", "claude-sonnet-4-6"),
    "generate": ("gemini", "gemini-2.5-flash", "gemini-3.1-pro", "gemini-embedding-001"),
}


def column(sdk: str, addresses: dict) -> Column:
    vendor, model, reasoning_model, embedding_model = OWN[sdk]
    driver, address = DRIVERS[sdk], addresses["openai" if vendor == "responses" else vendor]
    return Column(driver(address, Vendor.key), vendor, model, reasoning_model, model, embedding_model, address, driver(address, "wrong"), is_direct=True)


def main(port_file: str, only: str = "") -> int:
    addresses = json.loads(pathlib.Path(port_file).read_text())
    is_good = run([column(sdk, addresses) for sdk in OWN], only)
    return 0 if check_refusals(addresses) and is_good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
