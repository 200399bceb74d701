-- KEYS revocations, their ends, version. ARGV subject, at, until, channel.
revoke(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
changed(KEYS[3], ARGV[4])
return {'ok'}
