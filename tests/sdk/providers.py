"""The providers of the matrix: their models, and the gateway's configuration with the simulated vendors behind it.

Usage: providers.py PORT_FILE >arouter.toml
"""

import json
import pathlib
import sys

from vendors.vendor import Vendor

# By provider: its vendor and its own settings.
PROVIDERS = {
    "openai": ("openai", 'format = "openai"\nresponses = "never"\nmax_tokens_field = "max_completion_tokens"'),
    "responses": ("openai", 'format = "openai"\nresponses = "preferred"\nmax_tokens_field = "max_completion_tokens"'),
    "anthropic": ("anthropic", 'format = "anthropic"'),
    "gemini": ("gemini", 'format = "gemini"'),
}
# By provider: ids of models at the gateway, and their names at the vendor.
MODELS = {
    "openai": {"gpt-4.1": "gpt-4.1", "text-embedding-3-small": "text-embedding-3-small"},
    "responses": {"gpt-4.1": "gpt-4.1", "gpt-5.4": "gpt-5.4", "gpt-5": "gpt-5", "text-embedding-3-small": "text-embedding-3-small"},
    "anthropic": {
        "claude-sonnet-4.6": "claude-sonnet-4-6", "claude-sonnet-4.5": "claude-sonnet-4-5", "claude-opus-4.8": "claude-opus-4-8",
        "claude-opus-5.5": "claude-opus-5-5", "claude-sonnet-5.5": "claude-sonnet-5-5",
    },
    "gemini": {"gemini-2.5-flash": "gemini-2.5-flash", "gemini-3.1-pro": "gemini-3.1-pro", "gemini-embedding-001": "gemini-embedding-001"},
}
# By provider: the models for everything, for reasoning, for embeddings, and more that reason.
ROLES = {
    # OpenAI's Chat shows no reasoning; a compatible server that does stands in.
    "openai": ("vopenai/gpt-4.1", "deepseek/deepseek-chat", "vopenai/text-embedding-3-small", ()),
    "responses": ("vresponses/gpt-4.1", "vresponses/gpt-5.4", "vresponses/text-embedding-3-small", ("vresponses/gpt-5",)),
    "anthropic": (
        "vanthropic/claude-sonnet-4.6", "vanthropic/claude-sonnet-4.6", "vanthropic/claude-sonnet-4.6",
        ("vanthropic/claude-sonnet-4.5", "vanthropic/claude-opus-4.8", "vanthropic/claude-opus-5.5", "vanthropic/claude-sonnet-5.5"),
    ),
    "gemini": ("vgemini/gemini-2.5-flash", "vgemini/gemini-3.1-pro", "vgemini/gemini-embedding-001", ("vgemini/gemini-2.5-flash",)),
}
# With the fifth one of the matrix in Node.
SDKS = ("chat", "responses", "messages", "generate", "openrouter")


def failing_model(provider: str, sdk: str) -> str:
    """Returns a model of a provider that only one SDK uses: its failures must not fall on others."""
    return f"f{provider}-{sdk}/{next(iter(MODELS[provider]))}"


def configuration(addresses: dict) -> str:
    blocks = ['[server]\nlisten = "127.0.0.1:0"\n\n[bootstrap]\ncredit_usd = 1000\n\n[upstream]\nmedia_from_private_addresses = true\nretry_rounds_max = 1\n']
    for provider, (vendor, settings) in PROVIDERS.items():
        blocks += entry(f"v{provider}", addresses[vendor], vendor, settings, MODELS[provider])
        first = dict([next(iter(MODELS[provider].items()))])
        for sdk in SDKS:
            blocks += entry(f"f{provider}-{sdk}", addresses[vendor], vendor, settings, first)
    settings = 'format = "openai"'
    return "\n".join(blocks + entry("deepseek", addresses["openai"], "openai", settings, {"deepseek-chat": "deepseek-chat"}))


def entry(slug: str, address: str, vendor: str, settings: str, models: dict) -> list:
    base = f"{address}/v1" if vendor == "openai" else address
    provider = f'[[providers]]\nslug = "{slug}"\n{settings}\nbase_url = "{base}"\napi_key = "{Vendor.key}"\n'
    prices = 'prompt_usd_per_mtok = "1"\ncompletion_usd_per_mtok = "2"\ncontext_length = 200000\nmax_output_tokens = 8192\n'
    return [provider] + [
        f'[[models]]\nid = "{slug}/{name}"\nprovider = "{slug}"\nupstream_model = "{upstream}"\n{prices}' for name, upstream in models.items()
    ]


if __name__ == "__main__":
    print(configuration(json.loads(pathlib.Path(sys.argv[1]).read_text())))
