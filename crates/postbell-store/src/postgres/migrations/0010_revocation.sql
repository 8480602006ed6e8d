-- Permissions at Google that are to be revoked: the digest of the refresh token, and the token, encrypted.
CREATE TABLE revocation (
    id         bytea PRIMARY KEY,
    key_id     text COLLATE "C" NOT NULL,
    ciphertext bytea NOT NULL,
    added_at   int8 NOT NULL,
    due_at     int8 NOT NULL
);
