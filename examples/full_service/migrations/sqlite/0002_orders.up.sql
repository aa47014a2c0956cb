-- safe: yes a new table
-- phase: expand

CREATE TABLE orders (
    id BLOB PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id),
    status TEXT NOT NULL CHECK (status IN ('placed', 'confirmed', 'cancelled')),
    currency TEXT NOT NULL,
    items TEXT NOT NULL CHECK (json_valid(items)),
    total INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Lists by user, and the check whether a user has orders.
CREATE INDEX orders_user ON orders (user_id, id);
CREATE INDEX orders_status ON orders (status, id);
