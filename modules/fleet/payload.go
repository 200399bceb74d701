package fleet

import (
	"bytes"
	"io"
	"sync"
)

// Caps on what a node may answer.
const (
	// DefaultMaxResponseSize is the response size cap of a node that sets none.
	DefaultMaxResponseSize = 8 << 20
	// MaxJSONDepth is how deep the arrays and objects of an answer may nest.
	MaxJSONDepth = 64
)

// CheckJSON refuses what no decoder should be handed: an empty body, one that
// is not a JSON object or array, and one that nests deeper than
// [MaxJSONDepth]. It does not validate the JSON; it only scans it once,
// without recursion. The error is a [PayloadError].
func CheckJSON(body []byte) error {
	start := bytes.TrimLeft(body, " \t\r\n")
	if len(start) == 0 {
		return BadPayload("the answer is empty, expected JSON")
	}
	if start[0] == '<' {
		return BadPayload("the answer looks like HTML, expected JSON")
	}
	if start[0] != '{' && start[0] != '[' {
		return BadPayload("the answer is not a JSON object or array")
	}
	depth := 0
	for i := 0; i < len(start); i++ {
		switch start[i] {
		case '{', '[':
			depth++
			if depth > MaxJSONDepth {
				return BadPayload("the answer nests deeper than %d levels", MaxJSONDepth)
			}
		case '}', ']':
			depth--
		case '"':
			end := stringEnd(start, i+1)
			if end < 0 {
				return BadPayload("the answer ends inside a JSON string")
			}
			i = end
		}
	}
	if depth != 0 {
		return BadPayload("the answer is truncated JSON")
	}
	return nil
}

// stringEnd returns the index of the quote that closes the JSON string whose
// text starts at i, or -1.
func stringEnd(text []byte, i int) int {
	for {
		next := bytes.IndexByte(text[i:], '"')
		if next < 0 {
			return -1
		}
		end := i + next
		backslashes := 0
		for j := end - 1; j >= i && text[j] == '\\'; j-- {
			backslashes++
		}
		if backslashes%2 == 0 {
			return end
		}
		i = end + 1
	}
}

// scratch is where answers are read before their size is known: nodes mostly
// answer in chunks, without a Content-Length.
var scratch = sync.Pool{New: func() any { return new([scratchSize]byte) }}

const scratchSize = 32 << 10

// readCapped reads all of body, at most limit bytes. A declared length is not
// believed: what is allocated grows with what the node has sent.
func readCapped(body io.Reader, declared, limit int64) ([]byte, error) {
	if declared > limit {
		return nil, tooLarge(limit)
	}
	first := scratch.Get().(*[scratchSize]byte)
	defer scratch.Put(first)
	buf := first[:0]
	for {
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, tooLarge(limit)
		}
		switch {
		case err == io.EOF && cap(buf) == scratchSize:
			return bytes.Clone(buf), nil
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return nil, err
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, min(2*int64(cap(buf)), max(limit, scratchSize)+1)), buf...)
		}
	}
}

func tooLarge(limit int64) error {
	return BadPayload("the answer is larger than %d bytes", limit)
}
