-- KEYS token shown, its reply, version. ARGV base, hash, channel.
local shown = load(KEYS[1])
if not shown then return {'not found'} end
if shown[5] then return again(ARGV[1], KEYS[2], shown, KEYS[3], ARGV[3]) end
return {'ok', 'shown', ARGV[2], shown[1], shown[2], shown[3], shown[4], shown[6], shown[7], ''}
