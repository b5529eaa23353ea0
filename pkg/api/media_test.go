package api_test

import (
	"log/slog"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/elnormous/contenttype"
	"pgregory.net/rapid"

	"syncplane/pkg/api"
	"syncplane/pkg/syncs"
)

// mediaAPI returns an API over a store in memory, for many requests.
func mediaAPI() *api.API {
	return api.New(api.Config{
		Syncs:  &syncs.Service{Store: memory{}, Now: time.Now, NewID: func() (string, error) { return syncID, nil }},
		Caller: caller, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
}

// TestContentTypeAgreesWithOthers compares what is accepted as a Content-Type
// with two other parsers, over text of the characters that matter.
func TestContentTypeAgreesWithOthers(t *testing.T) {
	t.Parallel()
	handler := mediaAPI()
	piece := rapid.SampledFrom([]string{
		";", "; ", " ;", "\t;\t", "=", `"`, `\`, " ", ",", "charset", "CharSet", "charset=", "utf-8", "UTF-8", `"utf-8"`, `"ut\f-8"`, "latin1",
		"charset=utf-8", `charset="utf-8"`, ";charset=utf-8", ";a=b", `;a="b;c,d"`, `;a="\"x\\"`, ";b=", ";v=1", `;p=""`, "é", "\x7f", "/", "application/json",
	})
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.SampledFrom([]string{"application/json", "Application/JSON", " application/json", "application/json ", "application/jso", "application /json", "text/json"}).Draw(t, "start")
		text := start + strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces"), "")
		r := good(goodBody)
		r.Header.Set("Content-Type", text)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)

		parsed, err := contenttype.ParseMediaType(withoutEmpty(text))
		names := map[string]int{}
		for _, name := range namesIn(text) {
			names[name]++
		}
		twice := slices.ContainsFunc(namesIn(text), func(name string) bool { return names[name] > 1 })
		charset, given := parsed.Parameters["charset"]
		want := err == nil && parsed.MIME() == "application/json" && (!given || charset == "utf-8") && !twice
		if got := w.Code == http.StatusOK; got != want {
			t.Fatalf("%q: answered %d; contenttype returns %+v, %v", text, w.Code, parsed, err)
		}
		// The standard library differs in white space around the equals sign,
		// in escapes, in empty parameters and in text that is not ASCII.
		// It takes a parameter twice if both have one value.
		if twice || strings.ContainsAny(text, "\\é\x7f") || strings.Contains(withoutEmpty(text), " =") || strings.Contains(text, "= ") || withoutEmpty(text) != text {
			return
		}
		media, parameters, err := mime.ParseMediaType(text)
		charset, given = parameters["charset"]
		if std := err == nil && media == "application/json" && (!given || strings.EqualFold(charset, "utf-8")); std != want {
			t.Fatalf("%q: answered %d; mime returns %s %v, %v", text, w.Code, media, parameters, err)
		}
	})
}

// withoutEmpty leaves out the empty parameters of a media type, which RFC 9110
// allows and RFC 7231 did not.
func withoutEmpty(text string) string {
	var kept []string
	for i, part := range outsideQuotes(text, ';') {
		if i == 0 || strings.Trim(part, " \t") != "" {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, ";")
}

// namesIn returns the names of parameters, in lower case.
func namesIn(text string) []string {
	var names []string
	for _, part := range outsideQuotes(text, ';')[1:] {
		if name, _, ok := strings.Cut(part, "="); ok {
			names = append(names, strings.ToLower(strings.Trim(name, " \t")))
		}
	}
	return names
}

// outsideQuotes splits text at each separator that is in no quoted-string.
func outsideQuotes(text string, separator byte) []string {
	var parts []string
	quoted, from := false, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == separator && !quoted:
			parts = append(parts, text[from:i])
			from = i + 1
		}
	}
	return append(parts, text[from:])
}

// acceptMember is a member of an Accept header: what it means, and one of the
// ways to write that.
type acceptMember struct {
	media    string
	extended bool // has a parameter that JSON:API does not know
	weight   int  // in thousandths
	text     string
}

// acceptMembers draws members that are well-formed, and holds them against
// another parser.
func acceptMembers(t *rapid.T) []acceptMember {
	ows := func(what string) string {
		return rapid.SampledFrom([]string{"", "", " ", "\t", " \t "}).Draw(t, what)
	}
	var members []acceptMember
	for range rapid.IntRange(1, 5).Draw(t, "members") {
		m := acceptMember{media: rapid.SampledFrom([]string{"application/json", "application/vnd.api+json", "application/*", "*/*", "text/html", "text/*"}).Draw(t, "media"), weight: 1000}
		m.text = m.media
		if rapid.Bool().Draw(t, "upper case") {
			m.text = strings.ToUpper(m.text)
		}
		var parameters []string
		for i, name := range []string{"profile", "ext", "charset"} {
			if rapid.IntRange(0, 3).Draw(t, name) > 0 {
				continue
			}
			m.extended = m.extended || i > 0
			if rapid.Bool().Draw(t, "upper case name") {
				name = strings.ToUpper(name)
			}
			parameters = append(parameters, name+"="+rapid.SampledFrom([]string{`x`, `"https://a.example"`, `"a;b"`, `"a, application/json;q=1"`, `"\""`, `"\\"`, `""`, `";q=0"`, `"é\,"`}).Draw(t, "value"))
		}
		if rapid.Bool().Draw(t, "weighted") {
			weight := rapid.SampledFrom([]struct {
				text string
				n    int
			}{{"0", 0}, {"0.", 0}, {"0.0", 0}, {"0.000", 0}, {"0.001", 1}, {"0.3", 300}, {"0.30", 300}, {"0.9", 900}, {"1", 1000}, {"1.", 1000}, {"1.000", 1000}}).Draw(t, "weight")
			m.weight = weight.n
			q := rapid.SampledFrom([]string{"q", "Q"}).Draw(t, "q") + "=" + weight.text
			parameters = append(parameters, q)
		}
		plain := m.text
		for _, p := range parameters {
			before, after := ows("before ;"), ows("after ;")
			m.text += before + ";" + strings.Repeat(" ;", rapid.IntRange(0, 1).Draw(t, "empty parameters")) + after + p
			plain += before + ";" + after + p
		}
		parsed, err := contenttype.ParseMediaType(plain)
		if err != nil || parsed.MIME() != m.media || len(parsed.Parameters) != len(parameters) {
			t.Fatalf("the test writes %q, which is %+v, %v", plain, parsed, err)
		}
		members = append(members, m)
	}
	return members
}

// wantForm is the form that RFC 9110, section 12.5.1, leads to: the weight of a
// form returns that of the most specific range which fits; "" if none is acceptable.
func wantForm(members []acceptMember) string {
	best := func(form string) (specific, weight int) {
		for _, m := range members {
			n := slices.Index([]string{"", "*/*", "application/*", form}, m.media)
			if form == "application/vnd.api+json" && m.extended && n == 3 {
				continue
			}
			if n > specific {
				specific, weight = n, m.weight
			} else if n == specific && n > 0 {
				weight = max(weight, m.weight)
			}
		}
		return specific, weight
	}
	plainSpecific, plain := best("application/json")
	apiSpecific, jsonAPI := best("application/vnd.api+json")
	switch {
	case plain == 0 && jsonAPI == 0:
		return ""
	case jsonAPI > plain || jsonAPI == plain && apiSpecific > plainSpecific:
		return "application/vnd.api+json"
	}
	return "application/json"
}

// TestAccept writes what a client prefers in any way that the grammar allows,
// in one header line or in several, with malformed and empty members between.
func TestAccept(t *testing.T) {
	t.Parallel()
	handler := mediaAPI()
	rapid.Check(t, func(t *rapid.T) {
		members := acceptMembers(t)
		lines := []string{""}
		for _, m := range members {
			if rapid.IntRange(0, 3).Draw(t, "new line") == 0 {
				lines = append(lines, "")
			}
			for range rapid.IntRange(0, 2).Draw(t, "noise") {
				lines[len(lines)-1] += rapid.SampledFrom([]string{",", " , ", "\t,", "*,", "application,", "/,", "application/,", `application/json;q="1",`, "application/json;q=2,", "application/json;q=-1,", "application/json;q=1.1,", "application/json;q=x,", "application/json;q,", "application/json;=1,", "application/json;q=1;q=1,", "application/json; q = 1,", "application/json x,", "application/ json,"}).Draw(t, "malformed")
			}
			lines[len(lines)-1] += m.text + ","
		}
		for _, values := range [][]string{lines, {strings.Join(lines, ",")}} { // as sent, and as a gateway joins it
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/syncs/"+syncID, nil)
			r.Header["Accept"] = values
			r.Header.Set("Authorization", "Bearer acme syncs:read")
			r.Header.Set(api.RequestIDHeader, requestID)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			got := w.Header().Get("Content-Type")
			if w.Code == http.StatusNotAcceptable {
				got = ""
			}
			if want := wantForm(members); got != want {
				t.Fatalf("%q: got %d %q, want %q", values, w.Code, got, want)
			}
		}
	})
}
