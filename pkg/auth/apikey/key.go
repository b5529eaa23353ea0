// Package apikey implements API keys, for clients without an OIDC issuer: the
// format of a key, the record that is stored of it, and its verification. It does
// not know HTTP, nor how keys are stored: the storage backends implement Store.
package apikey

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"strings"
	"time"
)

// Prefix is the prefix of every key, by which secret scanners recognize one.
const Prefix = "syn_"

// The lengths of the parts of a key, in base-62 characters.
const (
	idLength       = 12
	secretBytes    = 32
	secretLength   = 43 // of 32 bytes
	checksumLength = 6  // of 32 bits
	textLength     = len(Prefix) + idLength + 1 + secretLength + checksumLength
)

// Key is the stored record of a key: everything but its secret.
type Key struct {
	ID        string
	Workspace string
	Name      string // a description for people
	Scopes    []string
	Hash      [sha256.Size]byte // the hash of the whole text
	LastFour  string            // the last four characters of the text, by which people recognize a key
	CreatedAt time.Time
	ExpiresAt time.Time // zero if the key does not expire
	RevokedAt time.Time // zero if the key is not revoked
}

// New creates a key for a workspace. text is the key that the client sends; it is
// not stored.
func New(random io.Reader, workspace, name string, scopes []string, now, expires time.Time) (k Key, text string, err error) {
	raw := make([]byte, secretBytes+idLength) // a random byte for each character of the ID
	if _, err := io.ReadFull(random, raw); err != nil {
		return Key{}, "", fmt.Errorf("create an API key: %w", err)
	}
	id := base62(raw[secretBytes:], idLength)
	text = Prefix + id + "_" + base62(raw[:secretBytes], secretLength)
	text += checksum(text)
	return Key{
		ID: id, Workspace: workspace, Name: name, Scopes: scopes,
		Hash: sha256.Sum256([]byte(text)), LastFour: text[len(text)-4:],
		CreatedAt: now.UTC().Truncate(time.Second), ExpiresAt: expires.UTC().Truncate(time.Second),
	}, text, nil
}

// ParseID returns the ID in the text of a key, without reading a store. ok is false
// for a malformed text or a wrong checksum.
func ParseID(text string) (id string, ok bool) {
	if len(text) != textLength || !strings.HasPrefix(text, Prefix) {
		return "", false
	}
	body, sum := text[:len(text)-checksumLength], text[len(text)-checksumLength:]
	id, secret, cut := strings.Cut(body[len(Prefix):], "_")
	if !cut || len(id) != idLength || strings.Trim(id+secret, digits) != "" || checksum(body) != sum {
		return "", false
	}
	return id, true
}

// Matches reports whether text is the text of k, in constant time.
func (k Key) Matches(text string) bool {
	hash := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(hash[:], k.Hash[:]) == 1
}

// Usable returns the reason why k cannot be used at a time, "" if it can.
func (k Key) Usable(now time.Time) (reason string) {
	switch {
	case !k.RevokedAt.IsZero():
		return "the key was revoked at " + k.RevokedAt.Format(time.RFC3339)
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return "the key expired at " + k.ExpiresAt.Format(time.RFC3339)
	}
	return ""
}

// digits holds the digits of base 62.
const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// base62 returns the last length digits of raw as a number in base 62.
func base62(raw []byte, length int) string {
	n, base, digit := new(big.Int).SetBytes(raw), big.NewInt(int64(len(digits))), new(big.Int)
	text := make([]byte, length)
	for i := length - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		text[i] = digits[digit.Int64()]
	}
	return string(text)
}

// checksum returns the CRC-32 of the rest of a key. It detects a truncated or
// mistyped key; it has no cryptographic strength.
func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	return base62(binary.BigEndian.AppendUint32(nil, sum), checksumLength)
}
