CREATE TABLE mailbox (
    user         TEXT    NOT NULL PRIMARY KEY,
    -- The waiting notification; all NULL where none waits.
    message_id   TEXT,
    history_id   TEXT,
    body         BLOB,
    accepted_at  INTEGER,
    -- When it may be claimed; the end of the lease while it is claimed.
    due_at       INTEGER,
    -- Nothing makes the mailbox due before.
    rests_until  INTEGER NOT NULL DEFAULT 0,
    leased_until INTEGER NOT NULL DEFAULT 0,
    -- Grows with each claim. The row stays when nothing waits, so that a number never returns.
    lease        INTEGER NOT NULL DEFAULT 0,
    failures     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX mailbox_by_due ON mailbox (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE seen (
    user       TEXT    NOT NULL,
    message_id TEXT    NOT NULL,
    seen_at    INTEGER NOT NULL,
    PRIMARY KEY (user, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_by_time ON seen (seen_at);

CREATE TABLE dead_letter (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    user        TEXT    NOT NULL,
    message_id  TEXT    NOT NULL,
    -- NULL where the message could not be read.
    history_id  TEXT,
    body        BLOB    NOT NULL,
    reason      TEXT    NOT NULL,
    cause       TEXT    NOT NULL,
    buried_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX dead_letter_by_user ON dead_letter (user, id);

-- The last deliveries of each mailbox, in a ring: a new one takes the oldest one's slot.
CREATE TABLE delivery (
    user        TEXT    NOT NULL,
    slot        INTEGER NOT NULL,
    lease       INTEGER NOT NULL,
    message_id  TEXT    NOT NULL,
    history_id  TEXT    NOT NULL,
    outcome     TEXT    NOT NULL,
    cause       TEXT,
    failures    INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    claimed_at  INTEGER NOT NULL,
    settled_at  INTEGER NOT NULL,
    PRIMARY KEY (user, slot)
) STRICT, WITHOUT ROWID;
