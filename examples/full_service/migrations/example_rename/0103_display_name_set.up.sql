-- safe: yes NOT VALID looks at new rows only
-- phase: expand

ALTER TABLE users ADD CONSTRAINT users_display_name_set CHECK (display_name IS NOT NULL) NOT VALID;
