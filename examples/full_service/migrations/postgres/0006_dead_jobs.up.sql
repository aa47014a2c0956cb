-- safe: yes it locks out no write
-- phase: expand
-- transaction: no

-- Dead jobs are counted every few seconds, among all those of a day that are done.
CREATE INDEX CONCURRENTLY jobs_dead ON jobs (id) WHERE state = 'dead';
