package crash

import (
	"strings"
	"testing"
)

func TestAgain(t *testing.T) {
	for name, c := range map[string]struct {
		received string // key:process, in order
		repeats  int
		fault    string
	}{
		"each once":                                     {"a:1 b:1 c:2", 0, ""},
		"the last one before a kill":                    {"a:1 b:1 b:2 c:2", 1, ""},
		"the last one before each of two kills":         {"a:1 a:2 a:3 b:3", 2, ""},
		"one before the last":                           {"a:1 b:1 a:2", 1, "a came again from process 2 though process 1 had delivered another"},
		"twice from one process":                        {"a:1 a:1", 1, "a came twice from process 1"},
		"the last one, long after others have followed": {"a:1 b:2 a:3", 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var all []delivery
			for i, part := range strings.Fields(c.received) {
				key, run, _ := strings.Cut(part, ":")
				all = append(all, delivery{i, key, run})
			}
			repeats, faults := again(all)
			if text := strings.Join(faults, "; "); repeats != c.repeats || (text == "") != (c.fault == "") || !strings.Contains(text, c.fault) {
				t.Errorf("%d repeats and %q, want %d and %q", repeats, text, c.repeats, c.fault)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	of := func(version, result string) rollout {
		return rollout{ID: "r-" + version, Result: result, Revision: struct{ DeployID string }{version}}
	}
	expected := []map[string]string{{"a": "promoted"}, {"b": "rolled-back"}}
	for name, c := range map[string]struct {
		all   []rollout
		fault string
	}{
		"as it was":                {[]rollout{of("a", "promoted"), of("b", "rolled-back")}, ""},
		"one is missing":           {[]rollout{of("a", "promoted")}, "b has 0 rollouts"},
		"one is there twice":       {[]rollout{of("a", "promoted"), of("b", "rolled-back"), of("b", "rolled-back")}, "b has 2 rollouts"},
		"another result":           {[]rollout{of("a", "promoted"), of("b", "promoted")}, `it should be "rolled-back"`},
		"one that there never was": {[]rollout{of("a", "promoted"), of("b", "rolled-back"), of("c", "promoted")}, "r-c"},
	} {
		if text := strings.Join(compare(c.all, expected), "; "); (text == "") != (c.fault == "") || !strings.Contains(text, c.fault) {
			t.Errorf("%s: %q, want %q", name, text, c.fault)
		}
	}
}
