-- Permissions at Google that are to be revoked: the digest of the refresh token, and the token, encrypted.
CREATE TABLE revocation (
    id         BLOB    NOT NULL PRIMARY KEY,
    key_id     TEXT    NOT NULL,
    ciphertext BLOB    NOT NULL,
    added_at   INTEGER NOT NULL,
    due_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
