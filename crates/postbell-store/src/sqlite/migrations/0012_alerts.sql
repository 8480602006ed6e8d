-- Alerts that wait to be sent, one row per recipient. The user is empty for a target of the operator.
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

-- What was told of a user, or of several together (a subject with a space).
CREATE TABLE alert_mark (
    subject TEXT    NOT NULL PRIMARY KEY,
    state   TEXT    NOT NULL,
    due_at  INTEGER,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_mark_by_due ON alert_mark (due_at) WHERE due_at IS NOT NULL;

-- The users' targets, encrypted: they contain tokens.
CREATE TABLE alert_target (
    user       TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    key_id     TEXT    NOT NULL,
    ciphertext BLOB    NOT NULL,
    added_at   INTEGER NOT NULL,
    PRIMARY KEY (user, id)
) STRICT, WITHOUT ROWID;
