package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// The floor is the least that a Go program does to answer such a search: ask
// all nodes with net/http, scan each answer for the hits and their addresses,
// add up reciprocal ranks, and write the best twenty as they came. It
// validates nothing, reports nothing, and trusts every node.

type floorHit struct {
	raw   []byte
	score float64
}

func serveFloor(nodes []string) error {
	listener, err := listen()
	if err != nil {
		return err
	}
	client := &http.Transport{MaxIdleConnsPerHost: 64}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Query string `json:"query"`
			Limit int    `json:"limit"`
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body, err := json.Marshal(asked)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		answers := make([][]byte, len(nodes))
		done := make(chan int, len(nodes))
		for i, node := range nodes {
			go func() {
				answers[i] = askFloor(ctx, client, node, body)
				done <- i
			}()
		}
		for range nodes {
			<-done
		}
		writeFloor(w, answers, asked.Limit)
	})}
	fmt.Println("http://" + listener.Addr().String())
	return server.Serve(listener)
}

func askFloor(ctx context.Context, client *http.Transport, node string, body []byte) []byte {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, node+"/v1/search", bytes.NewReader(body))
	if err != nil {
		return nil
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	response, err := client.RoundTrip(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil
	}
	return answer
}

func writeFloor(w http.ResponseWriter, answers [][]byte, limit int) {
	found := make(map[string]*floorHit, 20*len(answers))
	var hits []*floorHit
	for _, answer := range answers {
		for rank, raw := range scanHits(answer) {
			key := string(scanMember(raw, `"url":"`))
			hit := found[key]
			if hit == nil {
				hit = &floorHit{raw: raw}
				found[key] = hit
				hits = append(hits, hit)
			}
			hit.score += 1 / float64(61+rank)
		}
	}
	slices.SortStableFunc(hits, func(a, b *floorHit) int { return cmp.Compare(b.score, a.score) })
	out := make([]byte, 0, 8<<10)
	out = append(out, `{"hits":[`...)
	for i, hit := range hits[:min(limit, len(hits))] {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"score":`...)
		out = strconv.AppendFloat(out, hit.score, 'f', -1, 64)
		out = append(out, `,"hit":`...)
		out = append(out, hit.raw...)
		out = append(out, '}')
	}
	out = append(out, "]}"...)
	w.Header()["Content-Type"] = []string{"application/json"}
	_, _ = w.Write(out)
}

// scanHits slices the objects of the array after "hits":.
func scanHits(answer []byte) [][]byte {
	at := bytes.Index(answer, []byte(`"hits":[`))
	if at < 0 {
		return nil
	}
	hits := make([][]byte, 0, 20)
	depth, start := 0, 0
	for i := at + len(`"hits":[`); i < len(answer); i++ {
		switch answer[i] {
		case '"':
			for i++; answer[i] != '"'; i++ {
				if answer[i] == '\\' {
					i++
				}
			}
		case '{':
			if depth == 0 {
				start = i
			}
			depth++
		case '}':
			depth--
			if depth == 0 {
				hits = append(hits, answer[start:i+1])
			}
		case ']':
			if depth == 0 {
				return hits
			}
		}
	}
	return hits
}

// scanMember returns the text of a string member.
func scanMember(raw []byte, name string) []byte {
	at := bytes.Index(raw, []byte(name))
	if at < 0 {
		return nil
	}
	rest := raw[at+len(name):]
	return rest[:max(bytes.IndexByte(rest, '"'), 0)]
}
