package oidc

import (
	"crypto/sha256"
	"sync"
	"time"
)

// maxSeen is how many tokens are remembered, some 300 bytes each. Our own
// choice: an instance of the function serves far fewer clients in an hour.
const maxSeen = 1000

// seen remembers genuine tokens by their hash: a client sends the same one for
// an hour, and to verify a signature is the longest part of a request. What
// changes with time, such as whether it has expired, is no part of it. It knows
// tokens of one set of keys: when they are fetched anew, nothing is known.
type seen struct {
	mu     sync.Mutex
	keys   time.Time // when the keys came that verified them
	tokens map[[sha256.Size]byte]claims
}

// find returns what a token said whose hash this is, if those keys verified it.
func (s *seen) find(print [sha256.Size]byte, keys time.Time) (claims, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.keys.Equal(keys) {
		return claims{}, false
	}
	said, ok := s.tokens[print]
	return said, ok
}

// keep remembers a token that those keys verified. When there are too many it
// forgets all: that is rare, and costs a signature each.
func (s *seen) keep(print [sha256.Size]byte, keys time.Time, said claims) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.keys.Equal(keys) || len(s.tokens) >= maxSeen || s.tokens == nil {
		s.keys, s.tokens = keys, map[[sha256.Size]byte]claims{}
	}
	s.tokens[print] = said
}
