package bearer

import (
	"encoding/json"
	"errors"
	"strings"
)

// scopeList is a list of scopes, or a string of them separated by spaces.
type scopeList []string

// UnmarshalJSON reads either.
func (s *scopeList) UnmarshalJSON(text []byte) error {
	var list []string
	if json.Unmarshal(text, &list) == nil {
		*s = list
		return nil
	}
	var words string
	if json.Unmarshal(text, &words) == nil {
		*s = strings.Fields(words)
		return nil
	}
	return errors.New("scp must be a list of strings or a string")
}
