package index

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// fileState is what the index knows of a file, kept inside it.
type fileState struct {
	Size        int64
	Modified    time.Time
	Keys        []string
	Collections []string
	Lengths     lengths
}

const statePrefix = "file:"

// namesKey lists the files that may have a state: all of them, and for a
// while some that have none.
const namesKey = "files"

// readStates reads what the index knows of its files.
func (p *passing) readStates() (map[string]fileState, error) {
	states := make(map[string]fileState)
	text, err := p.index.GetInternal([]byte(namesKey))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	var names []string
	if len(text) > 0 {
		if err := json.Unmarshal(text, &names); err != nil {
			return nil, fmt.Errorf("%w: its list of files is damaged", errIndex)
		}
	}
	for _, name := range names {
		text, err := p.index.GetInternal([]byte(statePrefix + name))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errIndex, err)
		}
		var state fileState
		if len(text) > 0 && json.Unmarshal(text, &state) == nil {
			states[name] = state
		}
	}
	return states, nil
}

// writeNames lists the files, before their states are written or after they
// were deleted: a name without a state is harmless, a state without a name is lost.
func (p *passing) writeNames(names map[string]bool) error {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := p.index.SetInternal([]byte(namesKey), text); err != nil {
		return fmt.Errorf("%w: %w", errIndex, err)
	}
	return nil
}
