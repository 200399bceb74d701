-- KEYS token shown, version. ARGV base, channel.
local shown = load(KEYS[1])
if not shown then return {'not found'} end
if shown[5] then
  kill(ARGV[1], shown[1])
  changed(KEYS[2], ARGV[2])
  return {'replayed', shown[1], 0, shown[3], 0}
end
return {'ok', shown[1], shown[2], shown[3], shown[4]}
