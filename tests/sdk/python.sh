# Sets $python to an interpreter with the official SDKs and the other packages of these tests; to be sourced in the root of the repository.
python=.tools/sdk/bin/python
packages=('openai>=3.50,<4' 'anthropic>=2.14,<3' 'google-genai>=3.6,<4' 'nats-py>=2.9,<3' 'jsonschema[format]>=4.20,<5' 'standardwebhooks>=1,<2')
is_there='import sys; from importlib.metadata import version; assert all(map(version, sys.argv[1:])) and int(version("openai").split(".")[0]) >= 3'
if ! "$python" -c "$is_there" "${packages[@]%%[>[]*}" 2>/dev/null; then
    # Debian keeps the module that makes environments in a package of its own.
    python3 -m venv .tools/sdk || { . deploy/tools/debian.sh; install_packages python3-venv; python3 -m venv .tools/sdk; }
    "$python" -m pip install --quiet --disable-pip-version-check "${packages[@]}"
fi
