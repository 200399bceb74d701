package fleet

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadCappedReturnsTheWholeAnswerAndNoMore(t *testing.T) {
	for _, size := range []int{0, 1, scratchSize - 1, scratchSize, scratchSize + 1, 5 * scratchSize, 1 << 20} {
		sent := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		for name, body := range map[string]func() ([]byte, error){
			"whole": func() ([]byte, error) { return readCapped(bytes.NewReader(sent), -1, 1<<20) },
			// a declared length is not believed
			"longer than declared": func() ([]byte, error) { return readCapped(bytes.NewReader(sent), 5, 1<<20) },
			"chunked":              func() ([]byte, error) { return readCapped(iotest.HalfReader(bytes.NewReader(sent)), -1, 1<<20) },
		} {
			got, err := body()
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%s, %d bytes: got %d bytes, %v", name, size, len(got), err)
			}
		}
		if size == 0 {
			continue
		}
		if _, err := readCapped(bytes.NewReader(sent), -1, int64(size-1)); err == nil {
			t.Errorf("%d bytes were read over a limit of %d", size, size-1)
		}
	}
}

func TestReadCappedRefusesADeclaredLengthUnread(t *testing.T) {
	body := strings.NewReader("{}")
	if _, err := readCapped(body, 1<<40, 1<<20); err == nil || body.Len() != 2 {
		t.Errorf("got %v, %d bytes left", err, body.Len())
	}
}

func TestReadCappedPassesOnWhyItEnded(t *testing.T) {
	if _, err := readCapped(iotest.ErrReader(io.ErrUnexpectedEOF), -1, 100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error is %v", err)
	}
}

// What is returned must not be overwritten by the next answer.
func TestReadCappedSharesNoMemory(t *testing.T) {
	first, _ := readCapped(strings.NewReader(`{"first":1}`), -1, 100)
	_, _ = readCapped(strings.NewReader(`{"other":2}`), -1, 100)
	if string(first) != `{"first":1}` {
		t.Errorf("the first answer became %s", first)
	}
}
