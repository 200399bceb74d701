package fleet

import (
	"bytes"
	"encoding/json"
)

// maxMetadataDepth is how deep the arrays and objects of a node's metadata may
// nest: common readers of JSON give up at some hundred levels, and would then
// read nothing of a list with this node in it.
const maxMetadataDepth = 32

// CheckMetadata tells whether a node can have the metadata: none, or a JSON
// object of at most 16 KiB that nests at most 32 levels deep. The error is a
// [NodeError].
func CheckMetadata(metadata json.RawMessage) error {
	metadata = bytes.TrimSpace(metadata)
	if len(metadata) == 0 {
		return nil
	}
	if len(metadata) > maxNodeMetadata || metadata[0] != '{' {
		return invalidNode("metadata", "expected an object of at most %d bytes", maxNodeMetadata)
	}
	depth := 0
	for i := 0; i < len(metadata); i++ {
		switch metadata[i] {
		case '{', '[':
			if depth++; depth > maxMetadataDepth {
				return invalidNode("metadata", "it nests deeper than %d levels", maxMetadataDepth)
			}
		case '}', ']':
			depth--
		case '"':
			if i = stringEnd(metadata, i+1); i < 0 {
				return invalidNode("metadata", "expected an object")
			}
		}
	}
	return nil
}
