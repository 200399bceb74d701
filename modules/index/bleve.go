// Package index lets the gateway search documents of its own: the guest
// module federation.indexes.bleve, and the handler federation_index that
// serves one as a whole node.
package index

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-federation/caddy-federation/caddyfile/subdirective"
	"github.com/caddy-federation/caddy-federation/modules/fleet"
)

func init() { caddy.RegisterModule(new(Bleve)) }

// Bleve is an index over files: JSONL, or folders of text, Markdown, HTML and
// JSON. It is kept on disk, built in the background when Caddy starts, and
// follows the files as they change.
type Bleve struct {
	// Sources are files or folders. Required.
	Sources []string `json:"sources,omitempty"`
	// Path is the folder for what is built. Indexes with other sources or
	// language have folders of their own below it. Default: federation/index
	// in Caddy's data directory.
	Path string `json:"path,omitempty"`
	// Language stems words: en, or none to take them as they are. Default: en.
	Language string `json:"language,omitempty"`
	// NoWatch leaves the files alone once they are indexed. Default: false.
	NoWatch bool `json:"no_watch,omitempty"`

	logger *zap.Logger
	live   atomic.Pointer[live]
}

var languages = []string{"en", "none"}

// CaddyModule returns the Caddy module information.
func (*Bleve) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: fleet.IndexNamespace + ".bleve", New: func() caddy.Module { return new(Bleve) }}
}

// Provision reads the configuration. The files are opened when Caddy starts.
func (b *Bleve) Provision(ctx caddy.Context) error {
	b.logger = ctx.Logger()
	if len(b.Sources) == 0 {
		return fmt.Errorf("an index needs a file or folder of documents")
	}
	if b.Language == "" {
		b.Language = "en"
	}
	if !slices.Contains(languages, b.Language) {
		return fmt.Errorf("unknown language %q%s", b.Language, subdirective.Hint(b.Language, languages))
	}
	if b.Path == "" {
		b.Path = filepath.Join(caddy.AppDataDir(), "federation", "index")
	}
	for i, source := range b.Sources {
		absolute, err := filepath.Abs(source)
		if err != nil {
			return fmt.Errorf("finding %s: %w", source, err)
		}
		b.Sources[i] = absolute
	}
	keeper, err := ctx.App(keeperID)
	if err != nil {
		return fmt.Errorf("loading the keeper of indexes: %w", err)
	}
	keeper.(*keeperApp).add(b)
	return nil
}

// folder is where the index with this configuration is.
func (b *Bleve) folder() string {
	text, err := json.Marshal(struct {
		Format   int
		Sources  []string
		Language string
		Watch    bool
	}{2, b.Sources, b.Language, !b.NoWatch})
	if err != nil {
		panic(err) // strings and numbers can be written
	}
	sum := sha256.Sum256(text)
	return filepath.Join(b.Path, hex.EncodeToString(sum[:8]))
}

// Search implements [fleet.Index].
func (b *Bleve) Search(ctx context.Context, query *fleet.SearchQuery) (*fleet.SearchAnswer, error) {
	live := b.live.Load()
	if live == nil {
		return nil, &fleet.RefusalError{Reason: "the index is not open"}
	}
	return live.search(ctx, query)
}

// Describe implements [fleet.Index].
func (b *Bleve) Describe() fleet.IndexInfo {
	if live := b.live.Load(); live != nil {
		return live.describe()
	}
	return fleet.IndexInfo{Error: "the index is not open"}
}

// UnmarshalCaddyfile reads the index. Syntax:
//
//	bleve <file or folder...> {
//	    path     <folder>
//	    language en | none
//	    no_watch
//	}
func (b *Bleve) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // bleve
	b.Sources = d.RemainingArgs()
	if len(b.Sources) == 0 {
		return d.Errf("bleve: a file or folder of documents is missing, as in bleve ./documents")
	}
	block := subdirective.New("bleve", subdirectives...)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if known, err := b.unmarshalSubdirective(d, block); err != nil {
			return err
		} else if !known {
			return block.Unknown(d)
		}
	}
	return nil
}

var subdirectives = []string{"path", "language", "no_watch"}

func (b *Bleve) unmarshalSubdirective(d *caddyfile.Dispenser, block *subdirective.Block) (known bool, err error) {
	switch d.Val() {
	case "path":
		b.Path, err = block.Value(d)
	case "language":
		if b.Language, err = block.Value(d); err == nil && !slices.Contains(languages, b.Language) {
			err = d.Errf("unknown language %s%s", b.Language, subdirective.Hint(b.Language, languages))
		}
	case "no_watch":
		b.NoWatch, err = true, block.Flag(d)
	default:
		return false, nil
	}
	return true, err
}

// Interface guards
var (
	_ fleet.Index           = (*Bleve)(nil)
	_ caddy.Provisioner     = (*Bleve)(nil)
	_ caddyfile.Unmarshaler = (*Bleve)(nil)
)
