// Package subdirective reads the block of a directive the way all of ours are
// read: every subdirective at most once unless it is repeatable, and a
// mistake is named with its file, its line and the nearest known name.
package subdirective

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Block is what a block may hold and what it has held so far.
type Block struct {
	owner string
	known []string
	seen  map[string]bool
}

// New begins a block of owner ("federation", "node"), in which the known
// names may stand.
func New(owner string, known ...string) *Block {
	return &Block{owner: owner, known: known, seen: make(map[string]bool)}
}

// Once refuses a name that stood in the block before.
func (b *Block) Once(d *caddyfile.Dispenser) error {
	name := d.Val()
	if b.seen[name] {
		return d.Errf("%s: %s is set twice", b.owner, name)
	}
	b.seen[name] = true
	return nil
}

// Named is how errors name a subdirective of the block, as in "breaker: open".
func (b *Block) Named(name string) string { return b.owner + ": " + name }

// Unknown is the error for a name that cannot stand in the block.
func (b *Block) Unknown(d *caddyfile.Dispenser) error {
	return d.Errf("%s: unknown subdirective %s%s", b.owner, d.Val(), Hint(d.Val(), b.known))
}

// Value reads the one argument of the current subdirective.
func (b *Block) Value(d *caddyfile.Dispenser) (string, error) {
	name := d.Val()
	if err := b.Once(d); err != nil {
		return "", err
	}
	args := d.RemainingArgs()
	if len(args) != 1 {
		return "", d.Errf("%s: %s takes one argument, got %d", b.owner, name, len(args))
	}
	return args[0], nil
}

// Values reads the arguments of the current subdirective, at least one.
func (b *Block) Values(d *caddyfile.Dispenser) ([]string, error) {
	name := d.Val()
	if err := b.Once(d); err != nil {
		return nil, err
	}
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.Errf("%s: %s takes at least one argument", b.owner, name)
	}
	return args, nil
}

// Flag reads a subdirective that takes no argument.
func (b *Block) Flag(d *caddyfile.Dispenser) error {
	name := d.Val()
	if err := b.Once(d); err != nil {
		return err
	}
	if d.NextArg() {
		return d.Errf("%s: %s takes no argument", b.owner, name)
	}
	return nil
}

// Hint says which of the known names was likely meant, as the end of an
// error's sentence: the nearest one when it is near, else all of them.
func Hint(name string, known []string) string {
	best, distance := "", len(name)
	for _, k := range known {
		if d := editDistance(strings.ToLower(name), k); d < distance {
			best, distance = k, d
		}
	}
	if best != "" && distance <= max(1, (len(best)+1)/3) {
		return "; did you mean " + best + "?"
	}
	sorted := slices.Clone(known)
	slices.Sort(sorted)
	return "; known are " + strings.Join(sorted, ", ")
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
