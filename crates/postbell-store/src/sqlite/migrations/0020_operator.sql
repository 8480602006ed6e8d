-- Who has changed what, of whom, when and from where. Entries are only appended; those that are old enough are
-- deleted (AUDIT_KEPT).
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
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
    WHEN old.at > (SELECT at FROM audit ORDER BY number DESC LIMIT 1) - 31622400000
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

-- API keys of operators, and tokens of users. Only digests are stored.
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

-- Whether the operator may only look.
ALTER TABLE sign_in_link ADD COLUMN viewer INTEGER NOT NULL DEFAULT 0;

CREATE INDEX user_record_by_watch_end ON user_record (watch_expires_at, user) WHERE watch_expires_at IS NOT NULL;
