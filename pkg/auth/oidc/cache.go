package oidc

import (
	"crypto/sha256"
	"sync"
	"time"
)

// maxCached is how many verified tokens are cached, at some 300 bytes each. Our own
// choice: one instance of the function serves far fewer clients in an hour.
const maxCached = 1000

// tokenCache caches the claims of verified tokens by the SHA-256 digest of the
// token: a client sends the same token for about an hour, and verifying its
// signature is the slowest part of a request. The claims are evaluated again in
// every request. The cache holds tokens that one set of keys verified; it is
// emptied when the keys are fetched again.
type tokenCache struct {
	mu      sync.Mutex
	fetched time.Time // when the keys were fetched that verified the tokens
	tokens  map[[sha256.Size]byte]claims
}

// get returns the claims of the token with a digest, if the keys that were fetched
// at that time have verified it.
func (c *tokenCache) get(digest [sha256.Size]byte, fetched time.Time) (claims, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.fetched.Equal(fetched) {
		return claims{}, false
	}
	verified, ok := c.tokens[digest]
	return verified, ok
}

// put caches the claims of a token that the keys fetched at that time have
// verified. A full cache is emptied first, which is rare and costs one verification
// for each token.
func (c *tokenCache) put(digest [sha256.Size]byte, fetched time.Time, verified claims) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.fetched.Equal(fetched) || len(c.tokens) >= maxCached || c.tokens == nil {
		c.fetched, c.tokens = fetched, map[[sha256.Size]byte]claims{}
	}
	c.tokens[digest] = verified
}
