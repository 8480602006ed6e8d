-- Columns and tables get the names that the code and the documents use.
ALTER TABLE mailbox RENAME COLUMN rests_until TO cooldown_until;
ALTER TABLE mailbox RENAME COLUMN failures TO attempt;
ALTER TABLE mailbox RENAME COLUMN failed TO consecutive_failures;
ALTER TABLE delivery RENAME COLUMN failures TO attempt;
ALTER TABLE dead_letter RENAME COLUMN buried_at TO dead_lettered_at;
ALTER TABLE instance RENAME COLUMN untold TO pending_sync;
ALTER TABLE left_machine RENAME TO orphaned_machine;
ALTER TABLE credential RENAME COLUMN sealed_with TO key_id;
ALTER TABLE credential RENAME COLUMN sealed TO ciphertext;
