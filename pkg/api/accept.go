package api

import (
	"net/http"
	"strconv"
	"strings"

	"syncplane/pkg/fault"
)

// media is a form that answers have.
type media string

// The forms: the documented one, and JSON:API 1.1 for those who want it.
const (
	mediaJSON    media = "application/json"
	mediaJSONAPI media = "application/vnd.api+json"
)

// negotiate returns the form that the client prefers (RFC 9110, section 12.5.1);
// the documented one if it has no preference. Ranges that are malformed are
// ignored. It returns a fault.NotAcceptable if the client takes neither form.
func negotiate(header http.Header) (media, error) {
	values := header["Accept"]
	if len(values) == 1 && (values[0] == string(mediaJSON) || values[0] == "*/*") {
		return mediaJSON, nil // as most clients send it
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
			plain.add(3, weight) // whatever its parameters: RFC 8259 has none
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

// preference is how much a client wants a form: the weight of the most specific
// range that fits.
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

// parseWeight returns the weight among the parameters of a range (RFC 9110,
// section 12.4.2), in thousandths; 1,000 without one. ok is false if it is
// malformed or there twice.
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

// parseThousandths reads a number from 0 to 1. Beyond the grammar it takes more than
// three decimals, which it ignores, and ".2" without a digit before the point,
// which Java's HttpURLConnection sends in every request.
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

// hasExtension reports whether parameters hold one for which JSON:API 1.1 has the
// server ignore the range: any but a profile and the weight.
func hasExtension(parameters []parameter) bool {
	for _, p := range parameters {
		if !p.is("q") && !p.is("profile") {
			return true
		}
	}
	return false
}
