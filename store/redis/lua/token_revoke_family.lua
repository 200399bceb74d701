-- KEYS version. ARGV base, family, channel.
kill(ARGV[1], ARGV[2])
changed(KEYS[1], ARGV[3])
return {'ok'}
