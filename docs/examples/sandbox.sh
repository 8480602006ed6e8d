# shellcheck shell=bash
# Sourced by the recipes beside it: a sandbox with a watched mailbox in place of Gmail, in a temporary folder that is removed at the end.
# $POSTBELL is the program.
set -euo pipefail
POSTBELL=${POSTBELL:-postbell} work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
cd "$work"

# wait_for COMMAND …: until it succeeds, at most two minutes.
wait_for() {
  for _ in $(seq 240); do "$@" >/dev/null 2>&1 && return; sleep 0.5; done
  echo "not after two minutes: $*" >&2
  return 1
}

"$POSTBELL" sandbox >postbell.toml &
wait_for grep -q service_usage_url postbell.toml
sandbox=$(sed -n 's/^gmail_url = "\(.*\)"/\1/p' postbell.toml)/sandbox
curl -sf -X POST "$sandbox/mailboxes/you@example.com/grant" >google.json
curl -sf -X POST "$sandbox/topics/gmail" >/dev/null
mail=(--account you@example.com --credentials google.json)
HOME=$work "$POSTBELL" watch start "${mail[@]}" --topic projects/sandbox-project/topics/gmail >/dev/null
(umask 077; echo "whsec_$(openssl rand -base64 32)" >hook-secret)

# watch URL OPTION …: posts mail to the bot.
watch() {
  HOME=$work POSTBELL_WATCH_HOOK_SECRET_FILE=hook-secret "$POSTBELL" watch pull "${mail[@]}" --include-body \
    --subscription projects/sandbox-project/subscriptions/gmail-pull --hook-url "$@" 2>watch.log &
}

# deliver SUBJECT TEXT: puts a mail into the mailbox.
deliver() { printf 'From: Ann <ann@example.org>\nSubject: %s\n\n%s' "$@" | curl -sf --data-binary @- "$sandbox/mailboxes/you@example.com/mails"; }

# accepted: whether the watcher says that mail gets through.
accepted() { HOME=$work "$POSTBELL" watch status "${mail[@]}" | tee status.txt; }
