-- safe: no code that reads display_name breaks

DROP TRIGGER users_both_names ON users;
DROP FUNCTION users_both_names();
ALTER TABLE users DROP COLUMN display_name;
