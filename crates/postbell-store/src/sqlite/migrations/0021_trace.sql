-- The trace of the mail (W3C traceparent), which its delivery continues.
ALTER TABLE pending ADD COLUMN trace TEXT;
ALTER TABLE dead_letter ADD COLUMN trace TEXT;
ALTER TABLE delivery ADD COLUMN trace_id TEXT;
