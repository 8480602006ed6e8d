-- The kind of a failed attempt, beside its sentence in `cause`: not_running, starting, unreachable,
-- timeout, status_NNN, directory or other; NULL if the attempt did not fail.
ALTER TABLE delivery ADD COLUMN failure_kind TEXT;
ALTER TABLE dead_letter ADD COLUMN failure_kind TEXT;

-- Rows of earlier versions have only the sentence.
UPDATE delivery SET failure_kind = CASE
    WHEN cause LIKE '%; the machine is being started' THEN 'starting'
    WHEN cause = 'the machine is not running' THEN 'not_running'
    WHEN cause = 'the controller cannot be reached' THEN 'unreachable'
    WHEN cause = 'the controller did not answer in time' THEN 'timeout'
    WHEN cause GLOB 'the controller answered [0-9][0-9][0-9]' THEN 'status_' || substr(cause, -3)
    WHEN cause GLOB 'the directory *' THEN 'directory'
    ELSE 'other'
END WHERE cause IS NOT NULL;
UPDATE dead_letter SET failure_kind = CASE
    WHEN cause LIKE '%; the machine is being started' THEN 'starting'
    WHEN cause = 'the machine is not running' THEN 'not_running'
    WHEN cause = 'the controller cannot be reached' THEN 'unreachable'
    WHEN cause = 'the controller did not answer in time' THEN 'timeout'
    WHEN cause GLOB 'the controller answered [0-9][0-9][0-9]' THEN 'status_' || substr(cause, -3)
    WHEN cause GLOB 'the directory *' THEN 'directory'
    ELSE 'other'
END WHERE reason <> 'malformed';
