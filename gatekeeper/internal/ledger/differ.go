package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// difference is the first one of two JSON documents.
type difference struct{ where, written, expected string }

// Compare finds the first difference of two JSON documents, which are about the rollout that entry seq closes. The error is a
// *Misfit; where is before the paths in them.
func Compare(seq int64, id, where string, written, expected []byte) error {
	if d := differ(where, tree(written), tree(expected)); d != nil {
		return &Misfit{Seq: seq, Rollout: id, Where: d.where, Written: d.written, Expected: d.expected + ", as the entry says"}
	}
	return nil
}

// tree is v as a JSON document: objects, lists, numbers as they are written.
func tree(v any) any {
	text, ok := v.([]byte)
	if !ok {
		text, _ = json.Marshal(v) // what comes here was decoded from JSON
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var t any
	_ = decoder.Decode(&t) // nil is different from everything
	return t
}

// differ walks both trees in the order of their names, and gives the path of the first leaf that is not the same in both.
func differ(where string, written, expected any) *difference {
	switch w := written.(type) {
	case map[string]any:
		e, ok := expected.(map[string]any)
		if !ok {
			break
		}
		both := maps.Clone(w)
		maps.Copy(both, e)
		for _, name := range slices.Sorted(maps.Keys(both)) {
			if d := differ(join(where, name), w[name], e[name]); d != nil {
				return d
			}
		}
		return nil
	case []any:
		e, ok := expected.([]any)
		if !ok {
			break
		}
		for i := range min(len(w), len(e)) {
			if d := differ(fmt.Sprintf("%s[%d]", where, i), w[i], e[i]); d != nil {
				return d
			}
		}
		if len(w) == len(e) {
			return nil
		}
		return &difference{where, fmt.Sprintf("a list of %d", len(w)), fmt.Sprintf("a list of %d", len(e))}
	}
	if a, b := leaf(written), leaf(expected); a != b {
		return &difference{where, a, b}
	}
	return nil
}

func join(where, name string) string {
	if where == "" {
		return name
	}
	return where + "." + name
}

func leaf(v any) string {
	if v == nil {
		return "nothing"
	}
	text, _ := json.Marshal(v) // it came from JSON
	return fmt.Sprintf("%.120s", text)
}
