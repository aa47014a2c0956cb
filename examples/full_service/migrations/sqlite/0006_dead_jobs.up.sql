-- safe: yes
-- phase: expand

-- Dead jobs are counted every few seconds, among all those of a day that are done.
CREATE INDEX jobs_dead ON jobs (id) WHERE state = 'dead';
