"""Every SDK against every provider format, through a running gateway with the simulated vendors behind it.

Usage: matrix.py BASE_URL LIVE_KEY --vendors PORT_FILE [--management-key KEY] [--rows TEXT] [--sdk NAME] [--provider NAME]
"""

import argparse
import json
import pathlib
import sys

from drivers.all import DRIVERS
from features.column import Column
from features.table import run
from providers import PROVIDERS, ROLES, failing_model

WRONG_KEY = "lr_live_wrong"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base_url")
    parser.add_argument("live_key")
    parser.add_argument("--vendors", required=True, type=pathlib.Path)
    parser.add_argument("--management-key")
    parser.add_argument("--rows", default="", help="only the rows whose names contain this")
    parser.add_argument("--sdk", choices=DRIVERS)
    parser.add_argument("--provider", choices=PROVIDERS)
    return parser.parse_args()


def root_of(base_url: str) -> str:
    """Returns the address without the path that OpenAI's SDKs want in it."""
    return base_url.rstrip("/").removesuffix("/v1").removesuffix("/api")


def columns(options) -> list:
    addresses = json.loads(options.vendors.read_text())
    return [
        column(options, sdk, provider, addresses[PROVIDERS[provider][0]])
        for sdk in DRIVERS
        for provider in PROVIDERS
        if options.sdk in (None, sdk) and options.provider in (None, provider)
    ]


def column(options, sdk: str, provider: str, vendor: str) -> Column:
    root, driver = root_of(options.base_url), DRIVERS[sdk]
    model, reasoning_model, embedding_model, more = ROLES[provider]
    managing = driver(root, options.management_key) if options.management_key else None
    return Column(
        driver(root, options.live_key), provider, model, reasoning_model, failing_model(provider, sdk), embedding_model, vendor,
        driver(root, WRONG_KEY), managing, more, foreign_models(provider),
    )


def foreign_models(provider: str) -> tuple:
    return tuple(ROLES[other][1] for other in PROVIDERS if other != provider)


if __name__ == "__main__":
    chosen = arguments()
    sys.exit(0 if run(columns(chosen), chosen.rows) else 1)
