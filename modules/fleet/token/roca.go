package token

import "math/big"

// rocaPrimes are the small primes of the fingerprint.
var rocaPrimes = []int64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
	101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
}

// roca tells whether a modulus has the fingerprint of CVE-2017-15361 (Nemec et
// al., "The Return of Coppersmith's Attack", CCS 2017, section 2): its
// remainder by every small prime is a power of 65537. By chance that happens
// once in 10^8 keys or less.
func roca(modulus *big.Int) bool {
	var remainder big.Int
	for _, prime := range rocaPrimes {
		r := remainder.Mod(modulus, big.NewInt(prime)).Int64()
		power, found := int64(1), false
		for range prime {
			if found = power == r; found {
				break
			}
			power = power * 65537 % prime
		}
		if !found {
			return false
		}
	}
	return true
}
