#!/bin/sh
# Installs or upgrades Postbell: downloads the binary for this machine, verifies its SHA-256, and replaces the old one in one step.
#
# The checksum finds damage. It comes from the same place as the binary: `gh attestation verify FILE --repo postbell/postbell`
# proves who built a file.
set -eu

releases=https://github.com/postbell/postbell/releases

# Called in the last line, so that a script which arrives in part does nothing.
main() {
  from=
  version=
  prefix=
  while [ $# -gt 0 ]; do
    case $1 in
      --version | --from | --prefix) if [ -z "${2:-}" ]; then usage "$1 needs a value"; fi ;;
    esac
    case $1 in
      --version) version=$2; shift ;;
      --from) from=$2; shift ;;
      --prefix) prefix=$2; shift ;;
      -h | --help) help; exit 0 ;;
      *) usage "unknown argument: $1" ;;
    esac
    shift
  done
  if [ -n "$from" ] && [ -n "$version" ]; then usage "expected --from or --version, not both"; fi
  if [ -n "$version" ]; then from=$releases/download/v${version#v}; fi
  from=${from:-$releases/latest/download}
  if [ -z "$prefix" ]; then
    if [ "$(id -u)" = 0 ]; then prefix=/usr/local; else prefix=${HOME:?is not set; use --prefix}/.local; fi
  fi
  case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac

  target=$(target)
  archive=postbell-$target.tar.gz
  need tar
  need gzip
  # Beside the place of the binary: a rename replaces a file in one step only within a file system.
  created=
  if [ ! -d "$prefix/bin" ]; then created=$prefix/bin; fi
  mkdir -p "$prefix/bin" || fail "cannot create $prefix/bin; choose another folder with --prefix, or run this as root"
  work=$(mktemp -d "$prefix/bin/.postbell-install.XXXXXX") || fail "cannot write to $prefix/bin; choose another folder with --prefix, or run this as root"
  trap 'rm -rf "$work"; if [ -n "$created" ]; then rmdir "$created" 2>/dev/null || true; fi' EXIT
  trap 'exit 130' HUP INT TERM

  get SHA256SUMS
  get "$archive"
  verify "$archive"
  tar -xzf "$work/$archive" -C "$work" || fail "cannot unpack $archive"
  new=$work/postbell-$target
  version=$("$new/postbell" --version) || fail "the new binary does not start on this machine; nothing was changed"

  before=
  if [ -x "$prefix/bin/postbell" ]; then before=$("$prefix/bin/postbell" --version 2>/dev/null) || before="a postbell that did not start"; fi
  chmod 755 "$new/postbell"
  mv -f "$new/postbell" "$prefix/bin/postbell" || fail "cannot replace $prefix/bin/postbell"
  extras
  report
}

help() {
  cat <<'END'
Installs or upgrades Postbell.

  sh install.sh                      the latest release, into ~/.local, or as root into /usr/local
  sh install.sh --version 0.1.0      another release
  sh install.sh --from PLACE         from a folder or URL with SHA256SUMS and postbell-TARGET.tar.gz of a release
  sh install.sh --prefix FOLDER      into FOLDER/bin and FOLDER/share

Needs curl or wget (not with a folder), tar, gzip, and sha256sum, shasum or openssl.
END
}

usage() {
  echo "install.sh: $1; see: sh install.sh --help" >&2
  exit 2
}

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

need() { command -v "$1" >/dev/null || fail "$1 is missing; install it and run this again"; }

# The target of this machine's binary, in Rust's words.
target() {
  system=$(uname -s)
  machine=$(uname -m)
  # A shell that runs under Rosetta says x86_64 on an Apple processor.
  if [ "$system" = Darwin ] && [ "$(sysctl -n sysctl.proc_translated 2>/dev/null)" = 1 ]; then machine=arm64; fi
  case $machine in
    x86_64 | amd64) machine=x86_64 ;;
    aarch64 | arm64) machine=aarch64 ;;
    *) unsupported ;;
  esac
  case $system in
    Linux) echo "$machine-unknown-linux-musl" ;;
    Darwin) echo "$machine-apple-darwin" ;;
    *) unsupported ;;
  esac
}

unsupported() {
  fail "there is no binary for $system on $machine; build it with Rust: cargo install --locked --git https://github.com/postbell/postbell postbell"
}

# get NAME: fetches a file of the release into the work folder.
get() {
  case $from in
    http://* | https://*)
      if command -v curl >/dev/null; then
        # -f: a page that says 404 is no file. A body that ends early is an error, too.
        protocols="=http,https"
        case $from in https:*) protocols="=https" ;; esac
        curl -fsSL --proto-redir "$protocols" --retry 2 --connect-timeout 20 --speed-time 60 --speed-limit 1 -o "$work/$1" "$from/$1" && return
      elif command -v wget >/dev/null; then
        # GNU's repeats an early end twenty times. BusyBox's does not know --tries, and Debian's build of it crashes at -T.
        options=
        if wget --version >/dev/null 2>&1; then options="--tries=3 -T 60"; fi
        # shellcheck disable=SC2086
        wget -q $options -O "$work/$1" "$from/$1" && return
      else
        fail "curl and wget are missing; install one of them, or download the release and use --from FOLDER"
      fi
      fail "cannot download $from/$1; nothing was changed"
      ;;
    *) cp "$from/$1" "$work/$1" 2>/dev/null || fail "$from has no $1; nothing was changed" ;;
  esac
}

# verify NAME: compares the file with its line in SHA256SUMS.
verify() {
  expected=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]$1\$/\1/p" "$work/SHA256SUMS")
  [ -n "$expected" ] || fail "SHA256SUMS of $from has no line for $1; nothing was changed"
  if command -v sha256sum >/dev/null; then
    actual=$(sha256sum <"$work/$1")
  elif command -v shasum >/dev/null; then
    actual=$(shasum -a 256 <"$work/$1")
  elif command -v openssl >/dev/null; then
    actual=$(openssl dgst -sha256 -r <"$work/$1")
  else
    fail "sha256sum, shasum and openssl are missing; install one of them and run this again"
  fi
  actual=${actual%% *}
  [ "$actual" = "$expected" ] ||
    fail "$1 is damaged: its SHA-256 is $actual, expected $expected; nothing was changed"
}

# Man pages and completions. Postbell works without them.
extras() {
  share=$prefix/share
  {
    mkdir -p "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d" &&
      cp "$new"/man/*.1 "$share/man/man1/" &&
      cp "$new/completions/postbell.bash" "$share/bash-completion/completions/postbell" &&
      cp "$new/completions/_postbell" "$share/zsh/site-functions/_postbell" &&
      cp "$new/completions/postbell.fish" "$share/fish/vendor_completions.d/postbell.fish"
  } || echo "install.sh: could not install man pages and completions below $share" >&2
}

report() {
  case $before in
    "") echo "Installed $version: $prefix/bin/postbell" ;;
    "$version") echo "Installed $version again: $prefix/bin/postbell" ;;
    *) echo "Replaced $before with $version: $prefix/bin/postbell. Restart what runs of it." ;;
  esac
  found=$(command -v postbell || true)
  command=postbell
  if [ "$found" != "$prefix/bin/postbell" ]; then
    command=$prefix/bin/postbell
    if [ -n "$found" ]; then
      echo "\`postbell\` is still $found, which comes first in PATH."
    else
      echo "To use it as \`postbell\`: export PATH=\"$prefix/bin:\$PATH\" (in your shell's profile)"
    fi
  fi
  printf '\nNext:\n  %s demo     the whole path, without an account\n  %s setup    connects a mailbox with your bot\n' "$command" "$command"
}

main "$@"
