package store

import "time"

// GCRA is one step of the generic cell rate algorithm (ITU-T I.371): arrival
// is the theoretical arrival time the key had, now the store's clock, both in
// microseconds. It returns the arrival time to store when every policy agrees.
func GCRA(arrival, now int64, policy LimitPolicy) (next int64, state LimitState) {
	emission := max(policy.Emission.Microseconds(), 1)
	burst := int64(max(policy.Burst, 1))
	cost := int64(max(policy.Cost, 1))
	tolerance := emission * burst
	arrival = max(arrival, now)
	if cost > burst {
		return arrival, LimitState{
			Remaining:  int((tolerance - (arrival - now)) / emission),
			RetryAfter: -1,
			Reset:      time.Duration(arrival-now) * time.Microsecond,
		}
	}
	next = arrival + emission*cost
	if over := next - now - tolerance; over > 0 {
		return arrival, LimitState{
			Remaining:  int(max(tolerance-(arrival-now), 0) / emission),
			RetryAfter: time.Duration(over) * time.Microsecond,
			Reset:      time.Duration(arrival-now) * time.Microsecond,
		}
	}
	return next, LimitState{
		Remaining: int((tolerance - (next - now)) / emission),
		Reset:     time.Duration(next-now) * time.Microsecond,
	}
}
