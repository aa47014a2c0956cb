-- safe: yes a new table
-- phase: expand

-- The first answer to each Idempotency-Key, for a day.
CREATE TABLE idempotency_keys (
    key text PRIMARY KEY,
    fingerprint bytea NOT NULL,
    answer jsonb NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
