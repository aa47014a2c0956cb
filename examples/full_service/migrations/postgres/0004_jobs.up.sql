-- safe: yes a new table
-- phase: expand

-- The outbox. A worker owns a running job until lease_until; owner and attempts together name one run of it.
CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('queued', 'running', 'done', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    run_at timestamptz NOT NULL,
    lease_until timestamptz,
    owner text,
    request_id text,
    traceparent text,
    last_error text,
    created_at timestamptz NOT NULL,
    finished_at timestamptz
);

-- What may be claimed: few rows, however many are done.
CREATE INDEX jobs_open ON jobs (run_at) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE state = 'done';
