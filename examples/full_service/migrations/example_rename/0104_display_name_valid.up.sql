-- safe: yes it reads the table, and locks out neither readers nor writers
-- phase: expand

ALTER TABLE users VALIDATE CONSTRAINT users_display_name_set;
