package api

import (
	"net/http"
	"strconv"
	"strings"

	"syncplane/pkg/fault"
)

// media is a media type of responses.
type media string

// The media types of responses; the second is JSON:API 1.1.
const (
	mediaJSON    media = "application/json"
	mediaJSONAPI media = "application/vnd.api+json"
)

// negotiate returns the media type that the client prefers (RFC 9110, section
// 12.5.1), application/json without a preference. Malformed ranges are ignored. It
// returns a fault.NotAcceptable if the client accepts neither media type.
func negotiate(header http.Header) (media, error) {
	values := header["Accept"]
	if len(values) == 1 && (values[0] == string(mediaJSON) || values[0] == "*/*") {
		return mediaJSON, nil // what most clients send
	}
	var plain, jsonAPI preference
	given := false
	for member := range listMembers(values) {
		given = true
		name, parameters, ok := parseMedia(member)
		weight, fits := parseWeight(parameters)
		switch {
		case !ok || !fits:
		case name == "*/*":
			plain.add(1, weight)
			jsonAPI.add(1, weight)
		case strings.EqualFold(name, "application/*"):
			plain.add(2, weight)
			jsonAPI.add(2, weight)
		case strings.EqualFold(name, string(mediaJSON)):
			plain.add(3, weight) // parameters are ignored: RFC 8259 defines none
		case strings.EqualFold(name, string(mediaJSONAPI)) && !hasExtension(parameters):
			jsonAPI.add(3, weight)
		}
	}
	switch {
	case !given:
		return mediaJSON, nil
	case plain.weight <= 0 && jsonAPI.weight <= 0:
		return mediaJSON, &fault.Error{Kind: fault.NotAcceptable, Fields: []fault.Field{{
			Header: "Accept", Code: "not_acceptable",
			Detail: "Accept must allow application/json or application/vnd.api+json",
		}}}
	case jsonAPI.weight > plain.weight || jsonAPI.weight == plain.weight && jsonAPI.specific > plain.specific:
		return mediaJSONAPI, nil
	default:
		return mediaJSON, nil
	}
}

// preference is the weight of the most specific range that matches a media type.
type preference struct {
	specific int
	weight   int // in thousandths
}

func (p *preference) add(specific, weight int) {
	if specific > p.specific {
		*p = preference{specific, weight}
	} else if specific == p.specific {
		p.weight = max(p.weight, weight)
	}
}

// parseWeight returns the weight of a range (RFC 9110, section 12.4.2) in
// thousandths; 1,000 if it has none. ok is false if the weight is malformed or
// repeated.
func parseWeight(parameters []parameter) (weight int, ok bool) {
	weight, given := 1000, false
	for _, p := range parameters {
		if !p.is("q") {
			continue
		}
		if given || p.quoted {
			return 0, false
		}
		given = true
		if weight, ok = parseThousandths(p.value); !ok {
			return 0, false
		}
	}
	return weight, true
}

// parseThousandths parses a number from 0 to 1. Beyond the grammar it accepts more
// than three decimals, which it ignores, and a number without a digit before the
// point such as ".2", which Java's HttpURLConnection sends in every request.
func parseThousandths(text string) (n int, ok bool) {
	whole, decimals, _ := strings.Cut(text, ".")
	if whole != "0" && whole != "1" && (whole != "" || decimals == "") {
		return 0, false
	}
	if strings.ContainsFunc(decimals, func(c rune) bool { return c < '0' || c > '9' }) {
		return 0, false
	}
	if whole == "1" {
		return 1000, strings.Trim(decimals, "0") == ""
	}
	n, err := strconv.Atoi((decimals + "000")[:3])
	return n, err == nil
}

// hasExtension reports whether there is a parameter because of which JSON:API 1.1
// requires the server to ignore the range: any other than profile and the weight.
func hasExtension(parameters []parameter) bool {
	for _, p := range parameters {
		if !p.is("q") && !p.is("profile") {
			return true
		}
	}
	return false
}
