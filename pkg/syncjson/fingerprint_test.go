package syncjson_test

import (
	"runtime"
	"strings"
	"testing"

	"syncplane/pkg/syncjson"
)

const draft = `"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{"b":[1,{"y":1,"x":2}],"a":1.50e3},` +
	`"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes"}`

func fingerprintOf(tb testing.TB, body string) string {
	tb.Helper()
	fingerprint, err := syncjson.Fingerprint([]byte(body))
	if err != nil {
		tb.Fatal(err)
	}
	return fingerprint
}

// TestFingerprintStays checks that the fingerprint of a body is what earlier
// versions computed: keys that they stored are used for a month.
func TestFingerprintStays(t *testing.T) {
	t.Parallel()
	const want = "5eb07585aca843a287d43ca89a62b0cb2eb6b23dc8f462c25f1c1fa9c1c1afb9"
	for _, body := range []string{
		"{" + draft + `,"z":{"k":[[],{}],"é":"\u00e9\"","n":-0.0100}}`,
		`{"z":{"n":-1e-2,"\u00e9":"é\"","k":[ [ ] ,{ }]},` + strings.ReplaceAll(strings.Replace(draft, "1.50e3", "1500", 1), ",", " ,\n") + "}",
	} {
		if got := fingerprintOf(t, body); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// nested returns a body of about size bytes, nested as deep as it goes.
func nested(size int, open, end string) string {
	levels := strings.Count(open, "{") + strings.Count(open, "[") - strings.Count(open, "}")
	n := min(size/(len(open)+len(end)), 9_900/levels)
	return "{" + draft + `,"x":` + strings.Repeat(open, n) + "1" + strings.Repeat(end, n) + "}"
}

// TestFingerprintCost checks that a body of twice the size takes about twice
// the memory: work that is quadratic would show as four times as much.
func TestFingerprintCost(t *testing.T) {
	const size = 20_000
	for name, body := range map[string]func(size int) string{
		"objects":               func(n int) string { return nested(n, `{"a":`, "}") },
		"objects out of order":  func(n int) string { return nested(n, `{"b":`, `,"a":1}`) },
		"objects after another": func(n int) string { return nested(n, `{"a":{},"b":`, `}`) },
		"arrays":                func(n int) string { return nested(n, `[`, "]") },
		"arrays in objects":     func(n int) string { return nested(n, `{"a":[0,`, `]}`) },
		"many members": func(n int) string {
			var b strings.Builder
			for i := range n / 16 {
				b.WriteString(`,"` + strings.Repeat("k", 5) + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune(0x4e00+i)) + `":1`)
			}
			return "{" + draft + `,"x":{"":0` + b.String() + "}}"
		},
		"many elements":   func(n int) string { return "{" + draft + `,"x":[0` + strings.Repeat(",0", n/2) + "]}" },
		"a long number":   func(n int) string { return "{" + draft + `,"x":` + strings.Repeat("9", n) + "}" },
		"a long string":   func(n int) string { return "{" + draft + `,"x":"` + strings.Repeat(`\u0041`, n/6) + `"}` },
		"a huge exponent": func(n int) string { return "{" + draft + `,"x":1e` + strings.Repeat("9", n) + "}" },
	} {
		once := allocated(t, body(size))
		twice := allocated(t, body(2*size))
		if limit := 3 * once; twice > limit {
			t.Errorf("%s: twice the body takes %.1f times the memory", name, float64(twice)/float64(once))
		}
		if limit := uint64(200 * 2 * size); twice > limit {
			t.Errorf("%s: %d bytes of body take %d bytes of memory", name, 2*size, twice)
		}
	}
}

// allocated returns how many bytes it takes to read a body.
func allocated(t *testing.T, body string) uint64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fingerprintOf(t, body)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
