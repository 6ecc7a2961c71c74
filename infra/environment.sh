#!/bin/sh
# Makes the environment .venv out of requirements.lock: `make .venv/made` calls it.
#
#   PYTHON  which Python; by default the newest from 3.11 to 3.13 that is found
#   TORCH   cpu or cuda; by default cuda where an NVIDIA driver is found, else cpu
#
# uv installs where it is on the path, pip where it is not.
set -eu
cd "$(dirname "$0")/.."

say() { echo "environment: $*"; }
refuse() { echo "environment: $*" >&2; exit 2; }

# A Python counts if it runs and can make an environment; Debian and Ubuntu pack the latter apart.
usable() { "$1" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

python=${PYTHON:-}
if [ -n "$python" ]; then
    usable "$python" || refuse "PYTHON=$python is no Python from 3.11 to 3.13 with venv; name one, or install its venv package"
else
    for candidate in python3.13 python3.12 python3.11 python3; do
        if usable "$candidate"; then python=$candidate && break; fi
    done
    [ -n "$python" ] || refuse "no Python from 3.11 to 3.13 with venv was found; install one (Debian and Ubuntu: apt install python3-venv) or name it: make PYTHON=/path/to/python"
fi

torch=${TORCH:-}
if [ -z "$torch" ]; then
    if [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null; then torch=cuda; else torch=cpu; fi
fi
case $torch in cpu | cuda) ;; *) refuse "TORCH=$torch: give cpu or cuda" ;; esac

rm -rf .venv
if command -v uv >/dev/null; then
    uv venv --quiet --seed --python "$python" .venv
    install() { VIRTUAL_ENV=.venv UV_HTTP_TIMEOUT=180 uv pip install --quiet "$@"; }
    quick="--quiet"
else
    "$python" -m venv .venv
    install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }
    quick="--retries 0 --timeout 15"
fi
say "$(.venv/bin/python --version), installed by $(command -v uv >/dev/null && echo uv || echo pip)"

pin=$(grep '^torch==' requirements.lock)
if [ "$torch" = cpu ] && [ "$(uname -s)" = Linux ]; then
    # Linux wheels of torch on PyPI bring CUDA along: 3 GB that a machine without a GPU has no use for.
    # shellcheck disable=SC2086
    if install $quick "$pin+cpu" 2>/dev/null; then
        say "PyTorch's CPU build (about 200 MB) came from your package index"
    elif say "getting PyTorch's CPU build (about 200 MB) from download.pytorch.org" &&
        install $quick --index-url https://download.pytorch.org/whl/cpu --no-deps "$pin+cpu" 2>/dev/null; then
        say "PyTorch's CPU build is installed"
    else
        say "download.pytorch.org cannot be reached; your package index's build of PyTorch is taken (about 3 GB with CUDA)"
    fi
elif [ "$torch" = cuda ]; then
    say "getting PyTorch with CUDA (about 3 GB) from your package index"
fi
say "getting the other packages of requirements.lock (about 700 MB)"
install --requirement requirements.lock
.venv/bin/python -m components.families.language.kernels          # compiles them, two seconds
.venv/bin/python -m components.families.language.deepspeed_engine # compiles its collectives, half a minute
touch .venv/made
