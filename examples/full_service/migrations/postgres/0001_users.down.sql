-- safe: no it drops a table

DROP TABLE users;
