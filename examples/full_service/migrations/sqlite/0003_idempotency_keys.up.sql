-- safe: yes a new table
-- phase: expand

-- The first answer to each Idempotency-Key, for a day.
CREATE TABLE idempotency_keys (
    key TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    answer TEXT NOT NULL CHECK (json_valid(answer)),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
