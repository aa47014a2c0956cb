-- safe: yes
-- transaction: no

DROP INDEX CONCURRENTLY jobs_dead;
