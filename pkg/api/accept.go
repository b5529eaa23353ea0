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

// accepted is the form that the client prefers (RFC 9110, section 12.5.1); the
// documented one where it does not care. It returns a fault.NotAcceptable if
// the client takes neither.
func accepted(header http.Header) (media, error) {
	ranges := strings.Join(header.Values("Accept"), ",")
	if strings.TrimSpace(ranges) == "" {
		return mediaJSON, nil
	}
	var plain, jsonAPI preference
	for item := range strings.SplitSeq(ranges, ",") {
		name, parameters, _ := strings.Cut(item, ";")
		quality := qualityOf(parameters)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "":
		case "*/*":
			plain.add(1, quality)
			jsonAPI.add(1, quality)
		case "application/*":
			plain.add(2, quality)
			jsonAPI.add(2, quality)
		case string(mediaJSON):
			plain.add(3, quality)
		case string(mediaJSONAPI):
			// JSON:API 1.1: an instance with a parameter that the server
			// does not support is passed over; profiles may be ignored.
			if !extended(parameters) {
				jsonAPI.add(3, quality)
			}
		}
	}
	switch {
	case plain.quality <= 0 && jsonAPI.quality <= 0:
		return mediaJSON, &fault.Error{Kind: fault.NotAcceptable, Fields: []fault.Field{{
			Header: "Accept", Code: "not_acceptable",
			Detail: "Accept must allow application/json or application/vnd.api+json",
		}}}
	case jsonAPI.quality > plain.quality || jsonAPI.quality == plain.quality && jsonAPI.specific > plain.specific:
		return mediaJSONAPI, nil
	default:
		return mediaJSON, nil
	}
}

// preference is how much a client wants a form: what the most specific range
// that fits says.
type preference struct {
	specific int
	quality  float64
}

func (p *preference) add(specific int, quality float64) {
	if specific > p.specific {
		*p = preference{specific, quality}
	} else if specific == p.specific {
		p.quality = max(p.quality, quality)
	}
}

// qualityOf is the weight among the parameters of a range, 1 without one. A
// weight that is no number from 0 to 1 counts as 0.
func qualityOf(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		quality, err := strconv.ParseFloat(value, 64)
		if err != nil || !(quality >= 0 && quality <= 1) {
			return 0
		}
		return quality
	}
	return 1
}

// extended reports whether parameters hold one that JSON:API 1.1 has the
// server refuse: any but a profile and the weight.
func extended(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, _, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		switch strings.ToLower(name) {
		case "", "q", "profile":
		default:
			return true
		}
	}
	return false
}
