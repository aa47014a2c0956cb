-- safe: yes a new table
-- phase: expand

-- Times are microseconds since 1970: they sort, and are as exact as PostgreSQL's.
CREATE TABLE users (
    id BLOB PRIMARY KEY,
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One account an address, however it is written.
CREATE UNIQUE INDEX users_email ON users (lower(email));
