package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// jsonAPISuffix follows the version in the entity tag of the JSON:API form.
const jsonAPISuffix = "-jsonapi"

// etag returns the strong entity tag of s in a media type (RFC 9110, section 8.8.3):
// the stored version, with a suffix for JSON:API, since the two representations
// differ.
func etag(s syncs.Sync, form media) string {
	suffix := ""
	if form == mediaJSONAPI {
		suffix = jsonAPISuffix
	}
	return `"` + strconv.FormatInt(s.Version, 10) + suffix + `"`
}

// precondition parses If-Match and If-None-Match of a request that changes a sync.
// The entity tags of both media types name the version. A tag that this program does
// not return matches no version; a malformed header is a fault.Malformed.
func precondition(header http.Header) (syncs.Precondition, error) {
	condition, err := ifMatch(header)
	if err != nil {
		return condition, err
	}
	tags, star, given, ok := parseTags(header, "If-None-Match")
	if !given {
		return condition, nil
	}
	if !ok {
		return condition, invalidTags("If-None-Match")
	}
	condition.ExceptAny = star
	for _, tag := range tags {
		if version, ok := versionFromTag(tag.opaque); ok { // If-None-Match compares weakly
			condition.Except = append(condition.Except, version)
		}
	}
	return condition, nil
}

// ifMatch parses If-Match. A malformed header is a fault.Malformed.
func ifMatch(header http.Header) (syncs.Precondition, error) {
	tags, star, given, ok := parseTags(header, "If-Match")
	switch {
	case !given:
		return syncs.Precondition{}, nil
	case !ok:
		return syncs.Precondition{}, invalidTags("If-Match")
	case star:
		return syncs.Precondition{}, nil
	}
	condition := syncs.Precondition{Given: true}
	for _, tag := range tags {
		if version, ok := versionFromTag(tag.opaque); ok && !tag.weak { // If-Match compares strongly
			condition.Versions = append(condition.Versions, version)
		}
	}
	return condition, nil
}

func invalidTags(name string) error {
	return &fault.Error{Kind: fault.Malformed, Fields: []fault.Field{{
		Header: name, Code: "invalid_header",
		Detail: name + ` must be * or entity tags such as "3", as an ETag header gave them`,
	}}}
}

// isNotModified reports whether If-None-Match has the entity tag of a resource. A
// malformed header is ignored, so that the client gets the whole resource.
func isNotModified(header http.Header, current string) bool {
	tags, star, _, _ := parseTags(header, "If-None-Match")
	// If-None-Match compares weakly.
	return star || slices.ContainsFunc(tags, func(tag entityTag) bool { return tag.opaque == current })
}

// versionFromTag returns the version in an entity tag of either media type. Only the
// exact text that etag returns is a version: "01" and "+1" are not the tag "1".
func versionFromTag(opaque string) (version int64, ok bool) {
	text, _ := strings.CutSuffix(strings.Trim(opaque, `"`), jsonAPISuffix)
	version, err := strconv.ParseInt(text, 10, 64)
	return version, err == nil && strconv.FormatInt(version, 10) == text
}

// entityTag is a tag as a client sent it.
type entityTag struct {
	opaque string // with its quotation marks
	weak   bool
}

// parseTags parses a header that is * or a list of entity tags (RFC 9110, sections
// 13.1.1 and 13.1.2). given is false without the header; ok is false if the header
// is malformed or an empty list.
func parseTags(header http.Header, name string) (tags []entityTag, star, given, ok bool) {
	values, given := header[name]
	if !given {
		return nil, false, false, true
	}
	text := strings.Trim(strings.Join(values, ","), " \t")
	if text == "*" {
		return nil, true, true, true
	}
	for {
		text = strings.TrimLeft(text, " \t,") // list members may be empty
		if text == "" {
			return tags, false, true, len(tags) > 0
		}
		rest, weak := strings.CutPrefix(text, "W/")
		body, opened := strings.CutPrefix(rest, `"`)
		end := strings.IndexByte(body, '"')
		if !opened || end < 0 || strings.ContainsFunc(body[:end], isNotTagChar) {
			return nil, false, true, false
		}
		tags = append(tags, entityTag{opaque: rest[:end+2], weak: weak})
		text = strings.TrimLeft(body[end+1:], " \t")
		if text != "" && text[0] != ',' {
			return nil, false, true, false
		}
	}
}

// isNotTagChar reports whether c is not an etagc (RFC 9110, section 8.8.3).
// Quotation marks end the tag and are not passed to it.
func isNotTagChar(c rune) bool { return c <= ' ' || c == '\x7f' }
