return {'ok', int(clock())}
