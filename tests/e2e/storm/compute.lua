-- Traces that a JIT compiler makes and throws away, with results that its interpreter confirms.
-- luajit compute.lua SECONDS: "ok N", or what was wrong.
local bit = require("bit")
local ffi = require("ffi")

local source = [[
local seed, bit, ffi = ...
local words = ffi.new("uint32_t[256]")
local hash, sum = 2166136261, 0.0
for i = 0, 255 do words[i] = i * seed end
for round = 1, 40 do
    for i = 0, 255 do
        local x = words[i]
        hash = bit.bxor(bit.rol(hash, 5), bit.tobit(x))
        if x %% 3 == %d then hash = bit.tobit(hash + round) else sum = sum + x / (round + 1) end
        words[i] = x + round
    end
end
local text = {}
for i = 1, 50 do text[i] = tostring(i * seed) end
return hash, sum, #table.concat(text, ",")
]]

local finish = os.time() + tonumber(arg[1])
local rounds, wrong = 0, nil
while os.time() < finish and not wrong do
    local text = source:format(rounds % 3)
    local compiled, interpreted = loadstring(text), loadstring(text)
    jit.off(interpreted, true)
    local seed = rounds * 7919 % 65521
    local a, b, c = compiled(seed, bit, ffi)
    local d, e, f = interpreted(seed, bit, ffi)
    if a ~= d or b ~= e or c ~= f then
        wrong = ("round %d: %s %s %s, not %s %s %s"):format(rounds, a, b, c, d, e, f)
    end
    if rounds % 50 == 49 then jit.flush() end
    rounds = rounds + 1
end
print(wrong or "ok " .. rounds)
