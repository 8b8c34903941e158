local function starts_with(text, head)
  return string.find(text, head, 1, true) == 1
end

