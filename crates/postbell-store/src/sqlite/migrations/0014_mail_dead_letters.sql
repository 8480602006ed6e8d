-- How many mails the watcher has set aside, as the machine reported at its last check-in.
ALTER TABLE user_record ADD COLUMN mail_dead_letters INTEGER NOT NULL DEFAULT 0;
