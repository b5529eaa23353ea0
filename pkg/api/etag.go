package api

import (
	"net/http"
	"strconv"
	"strings"

	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// etag is the strong validator of s in a form (RFC 9110, section 8.8.3): its
// stored version, and the form where it is not the usual one, since the two
// forms differ byte for byte.
func etag(s syncs.Sync, form media) string {
	suffix := ""
	if form == mediaJSONAPI {
		suffix = "-jsonapi"
	}
	return `"` + strconv.FormatInt(s.Version, 10) + suffix + `"`
}

// condition reads If-Match. A tag that is none of ours matches nothing; a
// header that is no list of tags is a fault.Malformed.
func condition(header http.Header) (syncs.Condition, error) {
	values, given := header["If-Match"]
	text := strings.TrimSpace(strings.Join(values, ","))
	if !given || text == "*" {
		return syncs.Condition{}, nil
	}
	tags, ok := entityTags(text)
	if !ok {
		return syncs.Condition{}, &fault.Error{Kind: fault.Malformed, Fields: []fault.Field{{
			Header: "If-Match", Code: "invalid_header",
			Detail: `If-Match must be * or entity tags such as "3", as an ETag header gave them`,
		}}}
	}
	only := syncs.Condition{Given: true}
	for _, tag := range tags {
		number, _ := strings.CutSuffix(strings.Trim(tag, `"`), "-jsonapi")
		version, err := strconv.ParseInt(number, 10, 64)
		if err == nil && !strings.HasPrefix(tag, "W/") { // If-Match compares strongly
			only.Versions = append(only.Versions, version)
		}
	}
	return only, nil
}

// matchesNone reports whether If-None-Match names s as it is, so that the
// client has it already. What is no list of tags is passed over.
func matchesNone(header http.Header, s syncs.Sync, form media) bool {
	text := strings.TrimSpace(strings.Join(header["If-None-Match"], ","))
	if text == "*" {
		return true
	}
	tags, _ := entityTags(text)
	for _, tag := range tags {
		if strings.TrimPrefix(tag, "W/") == etag(s, form) { // If-None-Match compares weakly
			return true
		}
	}
	return false
}

// entityTags reads a list of tags (RFC 9110, section 8.8.3).
func entityTags(text string) (tags []string, ok bool) {
	for {
		text = strings.TrimLeft(text, " \t,")
		if text == "" {
			return tags, len(tags) > 0
		}
		rest, weak := strings.CutPrefix(text, "W/")
		body, opened := strings.CutPrefix(rest, `"`)
		value, after, closed := strings.Cut(body, `"`)
		if !opened || !closed {
			return nil, false
		}
		tag := `"` + value + `"`
		if weak {
			tag = "W/" + tag
		}
		tags = append(tags, tag)
		text = strings.TrimLeft(after, " \t")
		if text != "" && text[0] != ',' {
			return nil, false
		}
	}
}
