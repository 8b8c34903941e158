local function starts_with(text, head)
  return string.sub(text, 1, #head) == head
end

