#!/usr/bin/env bash
# Makes .venv ready to run act_eval from this checkout: interpreter, packages, and an OpenGL library for
# off-screen rendering. Usage: scripts/setup.sh [EXTRA]   EXTRA: test or dev (see pyproject.toml).
# Runs at once when nothing changed. PYTHON=/path/to/python chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

extra="${1:-}"
venv=.venv
python="$venv/bin/python"
stamp="$venv/.ready-${extra:-base}"
say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# What the environment was made from; the path counts because an editable install points at it.
fingerprint() { { pwd; cat pyproject.toml scripts/setup.sh; } | cksum; }

runs_python_311() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.12 python3.11 python3.13 python3.14 python3 python; do
        if runs_python_311 "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
        [ "$candidate" = "${PYTHON:-}" ] && die "PYTHON=$PYTHON is no Python 3.11 or newer"
    done
    die "no Python 3.11 or newer found (looked for python3.11 to python3.14, python3, python).
       Install one, for example with: sudo apt-get install python3 python3-venv
       or name it: PYTHON=/path/to/python3.12 make test"
}

# Prints the prefix under which apt-get may be run; fails where it may not.
apt_prefix() {
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" = 0 ]; then echo "env"; return; fi
    command -v sudo >/dev/null && sudo -n true 2>/dev/null && echo "sudo" || return 1
}

apt_install() {
    local prefix
    prefix="$(apt_prefix)" || return 1
    say "installing $* with apt-get"
    $prefix apt-get update -qq </dev/null >/dev/null 2>&1 || true # stale lists may still do
    $prefix env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" \
        </dev/null >"$venv.apt.log" 2>&1 || { tail -n 5 "$venv.apt.log" >&2; return 1; }
    rm -f "$venv.apt.log"
}

make_venv() {
    if [ -d "$venv" ] && runs_python_311 "$python" && "$python" -m pip --version >/dev/null 2>&1; then return; fi
    if [ -d "$venv" ]; then say "$venv is broken or older than Python 3.11: recreating it"; fi
    local base
    base="$(find_python)"
    if ! has_venv "$base"; then
        local package
        package="$("$base" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
        apt_install "$package" && has_venv "$base" || die "$base cannot make virtual environments.
       Run: sudo apt-get install $package"
    fi
    say "making $venv with $base"
    "$base" -m venv --clear "$venv"
}

# Of pip's many lines, those that show that the large downloads move.
progress() {
    grep --line-buffered -E '^ *Downloading .* \([0-9.]+ (MB|GB)\)|^Installing collected' |
        sed -u -E 's/^ *Downloading ([^ ]*\/)?([^ ]+)-(cp|py)[^ ]*/  downloading \2/; s/^Installing collected.*/  unpacking/' || true
}

install_packages() {
    local target="."
    [ -n "$extra" ] && target=".[$extra]"
    say "installing act_eval $target and what it needs (2.8 GB to download the first time)"
    "$python" -m pip install --disable-pip-version-check --progress-bar off -e "$target" </dev/null | progress
}

# By act_eval's own choice of library, so that what is tested here is what will run.
can_render() {
    "$python" -c '
import mujoco
from act_eval.scenes.rendering import OffscreenRenderer
OffscreenRenderer(mujoco.MjModel.from_xml_string("<mujoco/>"))' >/dev/null 2>&1
}

ensure_opengl() {
    [ "$(uname)" = Linux ] || return 0 # elsewhere the system has one
    can_render && return
    say "MuJoCo finds no OpenGL library for off-screen rendering"
    local egl="libegl1 libegl-mesa0 libgl1 libopengl0 libgl1-mesa-dri"
    # shellcheck disable=SC2086  # the list is meant to split
    if apt_install $egl && can_render; then return; fi
    if apt_install libosmesa6 libgl1 && can_render; then return; fi
    die "MuJoCo cannot render off-screen here: neither EGL nor OSMesa works, and it could not be installed.
       On Debian and Ubuntu run: sudo apt-get install $egl
       On Fedora run:            sudo dnf install mesa-libEGL mesa-libGL mesa-dri-drivers
       then repeat the command."
}

# Whether this extra, or one that includes it, was installed from the files as they are now.
is_ready() {
    local now name
    now="$(fingerprint)"
    for name in "$extra" $([ "$extra" = test ] && echo dev) $([ -z "$extra" ] && echo test dev); do
        [ "$(cat "$venv/.ready-${name:-base}" 2>/dev/null)" = "$now" ] && [ -x "$python" ] && return 0
    done
    return 1
}

case "$extra" in "" | test | dev) ;; *) die "unknown extra '$extra'; there are: test, dev" ;; esac
if is_ready; then exit 0; fi
make_venv
install_packages
ensure_opengl
fingerprint >"$stamp"
say "ready"
