-- A row only while a notification waits, or a failure of the mailbox is not over.
CREATE TABLE pending (
    user                 TEXT    NOT NULL PRIMARY KEY,
    -- The notification; all NULL if none waits.
    message_id           TEXT,
    history_id           TEXT,
    address              TEXT,
    published_at         INTEGER,
    accepted_at          INTEGER,
    -- Further messages with the same history id, separated by spaces.
    merged_ids           TEXT    NOT NULL DEFAULT '',
    -- When the mailbox began to wait; a newer notification does not change it, nor this index.
    waiting_since        INTEGER,
    -- When it may be claimed; the end of the lease while it is claimed.
    due_at               INTEGER,
    -- Until then only a check-in makes the mailbox due.
    cooldown_until       INTEGER NOT NULL DEFAULT 0,
    leased_until         INTEGER NOT NULL DEFAULT 0,
    lease                INTEGER NOT NULL DEFAULT 0,
    attempt              INTEGER NOT NULL DEFAULT 0,
    consecutive_failures INTEGER NOT NULL DEFAULT 0,
    failing_since        INTEGER,
    parked_for           TEXT,
    checked_in_at        INTEGER NOT NULL DEFAULT 0,
    body                 BLOB
) STRICT, WITHOUT ROWID;
INSERT INTO pending (user, message_id, history_id, accepted_at, waiting_since, due_at, cooldown_until,
        leased_until, lease, attempt, consecutive_failures, failing_since, parked_for, checked_in_at, body)
    SELECT user, message_id, history_id, accepted_at, accepted_at, due_at, cooldown_until,
        leased_until, lease, attempt, consecutive_failures, failing_since, parked_for, checked_in_at, body
    FROM mailbox WHERE due_at IS NOT NULL OR consecutive_failures > 0;

-- One row: the number of the last lease of all mailboxes.
CREATE TABLE last_lease (number INTEGER NOT NULL) STRICT;
INSERT INTO last_lease SELECT coalesce(max(lease), 0) FROM mailbox;

-- Up to where the notifications of a mailbox are settled. The address is the key of the mailbox
-- (EmailAddress::mailbox_key), and empty if it is unknown.
CREATE TABLE cursor (
    user        TEXT    NOT NULL,
    address     TEXT    NOT NULL,
    history_id  TEXT    NOT NULL,
    -- The messages that announced the history id, separated by spaces.
    message_ids TEXT    NOT NULL,
    settled_at  INTEGER NOT NULL,
    PRIMARY KEY (user, address)
) STRICT, WITHOUT ROWID;
INSERT INTO cursor
    SELECT delivery.user, '', delivery.history_id, group_concat(message_id, ' '), max(settled_at)
    FROM (
        SELECT user, max(history_id) AS history_id FROM delivery
        WHERE outcome IN ('delivered', 'dropped', 'buried') GROUP BY user
    ) AS greatest JOIN delivery USING (user, history_id)
    WHERE outcome IN ('delivered', 'dropped', 'buried') GROUP BY delivery.user;

-- For a replay: what the pending notification had.
ALTER TABLE dead_letter ADD COLUMN address TEXT;
ALTER TABLE dead_letter ADD COLUMN published_at INTEGER;
-- A repeat of a message that cannot be parsed is found by it.
CREATE INDEX dead_letter_unparseable ON dead_letter (user, message_id) WHERE reason = 'malformed';

DROP TABLE mailbox;
DROP TABLE seen_message;
CREATE INDEX pending_by_due ON pending (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX pending_waiting ON pending (waiting_since) WHERE due_at IS NOT NULL;
CREATE INDEX pending_failing ON pending (failing_since, user, due_at)
    WHERE failing_since IS NOT NULL AND due_at IS NOT NULL;
CREATE INDEX pending_parked ON pending (parked_for) WHERE parked_for IS NOT NULL;
