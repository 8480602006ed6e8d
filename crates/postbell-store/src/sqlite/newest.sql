-- What all migrations make of an empty file. A test compares this text with theirs, and says how it should be.
CREATE TABLE dead_letter (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    user        TEXT    NOT NULL,
    message_id  TEXT    NOT NULL,
    -- NULL where the message could not be read.
    history_id  TEXT,
    body        BLOB    NOT NULL,
    reason      TEXT    NOT NULL,
    cause       TEXT    NOT NULL,
    dead_lettered_at   INTEGER NOT NULL
, failure_kind TEXT, address TEXT, published_at INTEGER, trace TEXT) STRICT;
CREATE INDEX dead_letter_by_user ON dead_letter (user, id);
CREATE TABLE delivery (
    user        TEXT    NOT NULL,
    slot        INTEGER NOT NULL,
    lease       INTEGER NOT NULL,
    message_id  TEXT    NOT NULL,
    history_id  TEXT    NOT NULL,
    outcome     TEXT    NOT NULL,
    cause       TEXT,
    attempt    INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    claimed_at  INTEGER NOT NULL,
    settled_at  INTEGER NOT NULL, failure_kind TEXT, trace_id TEXT,
    PRIMARY KEY (user, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE "user_record" (
    user          TEXT    NOT NULL PRIMARY KEY,
    sandbox_id    TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    -- On Fly, or at a URL of its own; all NULL where nobody has said yet.
    app           TEXT,
    machine       TEXT,
    url           TEXT,
    -- The connected Google account; all NULL where none is.
    connected_at  INTEGER,
    email         TEXT,
    push_account  TEXT,
    notifications INTEGER NOT NULL,
    wake_on_mail  INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    -- Grows with each write.
    version       INTEGER NOT NULL
, watch_expires_at INTEGER, pending_sync INTEGER, problem_code TEXT, problem_since INTEGER, mail_dead_letters INTEGER NOT NULL DEFAULT 0, started_at INTEGER, unreachable_since INTEGER, config_fetched_at INTEGER, never_seen INTEGER NOT NULL DEFAULT 0, owner TEXT, several_accounts INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE credential (
    user        TEXT NOT NULL PRIMARY KEY,
    -- Which key it is encrypted with.
    key_id TEXT NOT NULL,
    ciphertext      BLOB NOT NULL
) STRICT;
CREATE INDEX credential_by_key ON credential (key_id);
CREATE TABLE "user_count" (number INTEGER NOT NULL) STRICT;
CREATE TABLE delivery_hour (
    user      TEXT    NOT NULL,
    slot      INTEGER NOT NULL,
    -- Since the Unix epoch.
    hour      INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    PRIMARY KEY (user, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE sign_in_link (
    -- SHA-256 of the secret in it.
    digest     BLOB    NOT NULL PRIMARY KEY,
    user       TEXT,
    operator   TEXT,
    expires_at INTEGER NOT NULL
, viewer INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_link_by_end ON sign_in_link (expires_at);
CREATE TABLE session_epoch (
    subject TEXT    NOT NULL PRIMARY KEY,
    epoch   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE "orphaned_machine" (
    app     TEXT NOT NULL,
    machine TEXT NOT NULL,
    PRIMARY KEY (app, machine)
) STRICT, WITHOUT ROWID;
CREATE TABLE compatibility (min_version INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX user_record_by_sandbox ON user_record (sandbox_id);
CREATE INDEX user_record_by_email ON user_record (email, user) WHERE email IS NOT NULL;
CREATE INDEX user_record_by_machine ON user_record (app, machine) WHERE app IS NOT NULL;
CREATE INDEX user_record_pending_sync ON user_record (user) WHERE pending_sync IS NOT NULL;
CREATE INDEX user_record_by_problem ON user_record (problem_code) WHERE problem_code IS NOT NULL;
CREATE TABLE queue_clock (latest INTEGER NOT NULL) STRICT;
CREATE TABLE dead_letter_dropped (number INTEGER NOT NULL) STRICT;
CREATE TABLE write_probe (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE alert (
    id       TEXT    NOT NULL,
    user     TEXT    NOT NULL,
    target   TEXT    NOT NULL,
    event    TEXT    NOT NULL,
    added_at INTEGER NOT NULL,
    due_at   INTEGER NOT NULL,
    attempt  INTEGER NOT NULL DEFAULT 0,
    lease    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (id, user, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_by_due ON alert (due_at);
CREATE TABLE alert_mark (
    subject TEXT    NOT NULL PRIMARY KEY,
    state   TEXT    NOT NULL,
    due_at  INTEGER,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_mark_by_due ON alert_mark (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE alert_target (
    user       TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    key_id     TEXT    NOT NULL,
    ciphertext BLOB    NOT NULL,
    added_at   INTEGER NOT NULL,
    PRIMARY KEY (user, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_record_by_mailbox ON user_record (
    CASE
        WHEN substr(email, -10) = '@gmail.com'
            THEN replace(substr(email, 1, length(email) - 10), '.', '') || '@gmail.com'
        WHEN substr(email, -15) = '@googlemail.com'
            THEN replace(substr(email, 1, length(email) - 15), '.', '') || '@gmail.com'
        ELSE email
    END
) WHERE email IS NOT NULL;
CREATE TABLE last_lease (number INTEGER NOT NULL) STRICT;
CREATE TABLE cursor (
    user        TEXT    NOT NULL,
    address     TEXT    NOT NULL,
    history_id  TEXT    NOT NULL,
    -- The messages that announced the history id, separated by spaces.
    message_ids TEXT    NOT NULL,
    settled_at  INTEGER NOT NULL, published_at INTEGER,
    PRIMARY KEY (user, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX dead_letter_unparseable ON dead_letter (user, message_id) WHERE reason = 'malformed';
CREATE TABLE progress (
    user       TEXT NOT NULL PRIMARY KEY,
    history_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE VIEW user_with_progress AS
    SELECT user_record.*, progress.history_id FROM user_record LEFT JOIN progress USING (user);
CREATE TABLE relay (
    id           INTEGER NOT NULL PRIMARY KEY,
    heartbeat_at INTEGER NOT NULL
) STRICT;
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    actor  TEXT    NOT NULL,
    origin TEXT    NOT NULL,
    action TEXT    NOT NULL,
    user   TEXT,
    detail TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_by_user ON audit (user, number) WHERE user IS NOT NULL;
CREATE INDEX audit_by_time ON audit (at);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TABLE access_token (
    id           TEXT    NOT NULL PRIMARY KEY,
    -- SHA-256 of the token.
    digest       BLOB    NOT NULL UNIQUE,
    name         TEXT    NOT NULL,
    scope        TEXT    NOT NULL,
    user         TEXT,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX access_token_by_user ON access_token (user, id) WHERE user IS NOT NULL;
CREATE INDEX access_token_by_end ON access_token (expires_at);
CREATE INDEX user_record_by_watch_end ON user_record (watch_expires_at, user) WHERE watch_expires_at IS NOT NULL;
CREATE INDEX user_record_unreachable ON user_record (user) WHERE unreachable_since IS NOT NULL;
CREATE TRIGGER audit_is_appended BEFORE INSERT ON audit
    WHEN EXISTS (SELECT 1 FROM audit WHERE number = new.number)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
    WHEN old.at > (SELECT at FROM audit ORDER BY number DESC LIMIT 1) - 31622400000
        OR old.at > unixepoch() * 1000 - 31622400000
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE INDEX user_record_not_connected ON user_record (user) WHERE connected_at IS NULL;
CREATE INDEX user_record_by_owner ON user_record (owner, connected_at, user) WHERE owner IS NOT NULL;
CREATE TRIGGER user_added AFTER INSERT ON user_record WHEN new.owner IS NULL
    BEGIN UPDATE user_count SET number = number + 1; END;
CREATE TRIGGER user_removed AFTER DELETE ON user_record WHEN old.owner IS NULL
    BEGIN UPDATE user_count SET number = number - 1; END;
CREATE TRIGGER account_added AFTER INSERT ON user_record WHEN new.owner IS NOT NULL
    BEGIN UPDATE compatibility SET min_version = max(min_version, 25); END;
CREATE TABLE pending (
    id                   INTEGER NOT NULL PRIMARY KEY,
    user                 TEXT    NOT NULL UNIQUE,
    -- The notification; all NULL if none waits.
    message_id           TEXT,
    history_id           TEXT,
    address              TEXT,
    published_at         INTEGER,
    accepted_at          INTEGER,
    -- Further messages with the same history id, separated by spaces.
    merged_ids           TEXT    NOT NULL DEFAULT '',
    -- The trace of the mail (W3C traceparent), which its delivery continues.
    trace                TEXT,
    attempt              INTEGER NOT NULL DEFAULT 0,
    -- When the mailbox began to wait; a newer notification does not change it, nor this index.
    waiting_since        INTEGER,
    -- When it may be claimed; the end of the lease while it is claimed.
    due_at               INTEGER,
    -- Until then only a check-in makes the mailbox due.
    cooldown_until       INTEGER NOT NULL DEFAULT 0,
    leased_until         INTEGER NOT NULL DEFAULT 0,
    lease                INTEGER NOT NULL DEFAULT 0,
    -- The relay that has the lease.
    holder               INTEGER,
    consecutive_failures INTEGER NOT NULL DEFAULT 0,
    failing_since        INTEGER,
    parked_for           TEXT,
    checked_in_at        INTEGER NOT NULL DEFAULT 0,
    body                 BLOB
) STRICT;
CREATE INDEX pending_by_due ON pending (due_at, user) WHERE due_at IS NOT NULL;
CREATE INDEX pending_waiting ON pending (waiting_since) WHERE due_at IS NOT NULL;
CREATE INDEX pending_failing ON pending (failing_since, user, due_at)
    WHERE failing_since IS NOT NULL AND due_at IS NOT NULL;
CREATE INDEX pending_parked ON pending (parked_for) WHERE parked_for IS NOT NULL;
CREATE TABLE depth (
    waiting      INTEGER NOT NULL,
    failing      INTEGER NOT NULL,
    parked       INTEGER NOT NULL,
    dead_letters INTEGER NOT NULL
) STRICT;
CREATE TRIGGER pending_added AFTER INSERT ON pending BEGIN
    UPDATE depth SET
        waiting = waiting + (new.due_at IS NOT NULL),
        failing = failing + (new.due_at IS NOT NULL AND new.failing_since IS NOT NULL),
        parked = parked + (new.parked_for IS NOT NULL);
END;
CREATE TRIGGER pending_removed AFTER DELETE ON pending BEGIN
    UPDATE depth SET
        waiting = waiting - (old.due_at IS NOT NULL),
        failing = failing - (old.due_at IS NOT NULL AND old.failing_since IS NOT NULL),
        parked = parked - (old.parked_for IS NOT NULL);
END;
CREATE TRIGGER pending_changed AFTER UPDATE OF due_at, failing_since, parked_for ON pending
WHEN (old.due_at IS NULL) <> (new.due_at IS NULL) OR (old.failing_since IS NULL) <> (new.failing_since IS NULL)
    OR (old.parked_for IS NULL) <> (new.parked_for IS NULL)
BEGIN
    UPDATE depth SET
        waiting = waiting + (new.due_at IS NOT NULL) - (old.due_at IS NOT NULL),
        failing = failing + (new.due_at IS NOT NULL AND new.failing_since IS NOT NULL)
            - (old.due_at IS NOT NULL AND old.failing_since IS NOT NULL),
        parked = parked + (new.parked_for IS NOT NULL) - (old.parked_for IS NOT NULL);
END;
CREATE TRIGGER dead_letter_added AFTER INSERT ON dead_letter BEGIN
    UPDATE depth SET dead_letters = dead_letters + 1;
END;
CREATE TRIGGER dead_letter_removed AFTER DELETE ON dead_letter BEGIN
    UPDATE depth SET dead_letters = dead_letters - 1;
END;
CREATE TABLE revocation (
    id         BLOB    NOT NULL PRIMARY KEY,
    key_id     TEXT    NOT NULL,
    ciphertext BLOB    NOT NULL,
    added_at   INTEGER NOT NULL,
    due_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO user_count VALUES (0);
INSERT INTO compatibility VALUES (16);
INSERT INTO queue_clock VALUES (0);
INSERT INTO dead_letter_dropped VALUES (0);
INSERT INTO last_lease VALUES (0);
INSERT INTO depth VALUES (0, 0, 0, 0);
