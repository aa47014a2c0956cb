-- safe: yes

DROP INDEX jobs_dead;
