-- No script decodes JSON: its parser and the broker's would disagree about what can be read. A script reads the head of
-- a row, and is told the rest.

-- What the caller told, by key, and what it has to tell. As long as anything is left to tell, a script writes
-- nothing and returns `untold`.
local told, untold = {}, nil
