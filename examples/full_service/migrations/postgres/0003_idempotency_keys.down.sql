-- safe: no it drops a table

DROP TABLE idempotency_keys;
