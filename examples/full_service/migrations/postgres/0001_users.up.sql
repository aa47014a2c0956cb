-- safe: yes a new table
-- phase: expand

CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    name text NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- One account an address, however it is written.
CREATE UNIQUE INDEX users_email ON users (lower(email));
