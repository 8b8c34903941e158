-- What the caller told, by key, and what it has to tell. As long as anything is left to tell, a script writes
-- nothing and returns `untold`.
local told, untold = {}, nil
