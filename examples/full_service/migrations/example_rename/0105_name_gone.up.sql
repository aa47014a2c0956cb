-- safe: yes no statement here reads the table: the valid CHECK proves the NOT NULL
-- phase: contract
-- after: 3.0.0

DROP TRIGGER users_both_names ON users;
DROP FUNCTION users_both_names();
ALTER TABLE users ALTER COLUMN display_name SET NOT NULL;
ALTER TABLE users DROP CONSTRAINT users_display_name_set;
ALTER TABLE users DROP COLUMN name;
