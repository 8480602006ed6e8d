-- How many deliveries of each mailbox ended in an hour, in a ring of a day: a new hour takes the
-- slot of the one a day before.
CREATE TABLE delivery_hour (
    user      TEXT    NOT NULL,
    slot      INTEGER NOT NULL,
    -- Since the Unix epoch.
    hour      INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    PRIMARY KEY (user, slot)
) STRICT, WITHOUT ROWID;
-- Few fail at a time, so few rows are in it.
CREATE INDEX mailbox_failing ON mailbox (user) WHERE failures > 0;

CREATE TABLE sign_in_link (
    -- SHA-256 of the secret in it.
    digest     BLOB    NOT NULL PRIMARY KEY,
    user       TEXT,
    operator   TEXT,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_link_by_end ON sign_in_link (expires_at);

-- Sessions of an earlier epoch are over; where there is no row it is 0.
CREATE TABLE session_epoch (
    subject TEXT    NOT NULL PRIMARY KEY,
    epoch   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
