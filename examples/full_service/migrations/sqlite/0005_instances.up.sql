-- safe: yes a new table
-- phase: expand

-- The processes that are alive, with the schema each needs: a contract migration waits for the older ones.
CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
