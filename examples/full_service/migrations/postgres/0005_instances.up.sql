-- safe: yes a new table
-- phase: expand

-- The processes that are alive, with the schema each needs: a contract migration waits for the older ones.
CREATE TABLE instances (
    id text PRIMARY KEY,
    version text NOT NULL,
    schema_version bigint NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL
);
