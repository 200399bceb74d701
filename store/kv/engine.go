// Package kv implements [store.Store] over any ordered key-value engine with
// transactions, so that the logic of the store stands once and a backend that
// lives in one process is only an engine.
package kv

// Tx reads and writes within one transaction. Byte slices it returns are
// valid until the transaction ends, and are not changed.
type Tx interface {
	// Get returns nil when there is no such key.
	Get(bucket Bucket, key string) []byte
	Put(bucket Bucket, key string, value []byte) error
	Delete(bucket Bucket, key string) error
	// Ascend yields keys from the given one upwards until yield returns false.
	// yield must not write to the bucket.
	Ascend(bucket Bucket, from string, yield func(key string, value []byte) bool)
	// Descend yields keys below the given one downwards; from the last when
	// it is empty.
	Descend(bucket Bucket, below string, yield func(key string, value []byte) bool)
}

// Engine runs transactions. An error of the function undoes what it wrote.
type Engine interface {
	View(func(Tx) error) error
	Update(func(Tx) error) error
	Close() error
}

// Bucket is a part of the key space.
type Bucket string

// The buckets. An engine makes them all before its first transaction.
const (
	bucketMeta        Bucket = "meta"
	bucketNodes       Bucket = "nodes"
	bucketIDs         Bucket = "ids"
	bucketRefresh     Bucket = "refresh"
	bucketFamilies    Bucket = "families"
	bucketKeys        Bucket = "keys"
	bucketRevocations Bucket = "revocations"
	bucketLimits      Bucket = "limits"
	bucketBreakers    Bucket = "breakers"
	bucketCache       Bucket = "cache"
	bucketRuns        Bucket = "runs"
	bucketClaims      Bucket = "claims"
	bucketRequests    Bucket = "requests"
	bucketHeads       Bucket = "request_heads"
	bucketLeases      Bucket = "leases"
	bucketEvents      Bucket = "events"
	bucketMembers     Bucket = "members"
	bucketAlerts      Bucket = "alerts"
	bucketDeliveries  Bucket = "deliveries"
	bucketExpiry      Bucket = "expiry"
)

// Buckets are all of them.
var Buckets = []Bucket{
	bucketMeta, bucketNodes, bucketIDs, bucketRefresh, bucketFamilies, bucketKeys, bucketRevocations, bucketLimits,
	bucketBreakers, bucketCache, bucketRuns, bucketClaims, bucketRequests, bucketHeads, bucketLeases, bucketEvents, bucketMembers,
	bucketAlerts, bucketDeliveries, bucketExpiry,
}
