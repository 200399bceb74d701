package fleet

import (
	"regexp"
	"strings"

	"github.com/mozillazg/go-unidecode"
)

var (
	slugStripped  = regexp.MustCompile(`[^\pL\pN\s-]+`)
	slugSeparated = regexp.MustCompile(`[-\s]+`)
)

// SlugOf names a node as the old fleet did (Laravel's Str::slug):
// transliterated to ASCII, "_" to "-", "@" to "-at-", everything but letters,
// digits and hyphens stripped. It is empty when nothing remains.
func SlugOf(name string) string {
	s := unidecode.Unidecode(name)
	s = strings.ReplaceAll(s, "_", "-")
	s = strings.ReplaceAll(s, "@", "-at-")
	s = slugStripped.ReplaceAllString(strings.ToLower(s), "")
	return strings.Trim(slugSeparated.ReplaceAllString(s, "-"), "-")
}
