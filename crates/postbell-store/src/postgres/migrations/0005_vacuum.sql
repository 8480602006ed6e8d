-- Every vacuum that could free the end of the table waited five seconds for an exclusive lock, which it never got, and the
-- table grew meanwhile. Statistics of it mean nothing, and each ANALYZE keeps a snapshot.
ALTER TABLE pending SET (vacuum_truncate = off, autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000000000);
-- A row changes with every delivery; how the rows are distributed does not.
ALTER TABLE cursor SET (autovacuum_analyze_scale_factor = 2);
ALTER TABLE delivery SET (autovacuum_analyze_scale_factor = 2);
ALTER TABLE tally SET (autovacuum_analyze_scale_factor = 2);
