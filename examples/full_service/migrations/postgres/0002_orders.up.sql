-- safe: yes a new table
-- phase: expand

CREATE TABLE orders (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    status text NOT NULL CHECK (status IN ('placed', 'confirmed', 'cancelled')),
    currency text NOT NULL,
    items jsonb NOT NULL,
    total bigint NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Lists by user, and the check whether a user has orders.
CREATE INDEX orders_user ON orders (user_id, id);
CREATE INDEX orders_status ON orders (status, id);
