// Package apikey is keys for machines that have no OIDC issuer: what one looks
// like, what is kept of it, and who it stands for. It knows neither HTTP nor
// where keys are kept.
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

// Prefix begins every key, so that a scanner can spot one.
const Prefix = "syn_"

// The lengths of the parts of a key, in characters of base 62.
const (
	idLength       = 12
	secretBytes    = 32
	secretLength   = 43 // of 32 bytes
	checksumLength = 6  // of 32 bits
	textLength     = len(Prefix) + idLength + 1 + secretLength + checksumLength
)

// Key is what is kept of a key: everything but its secret.
type Key struct {
	ID        string
	Workspace string
	Name      string // for people
	Scopes    []string
	Hash      [sha256.Size]byte // of the whole text
	LastFour  string            // of the text, so that people can tell keys apart
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: not
}

// New makes a key for a workspace. text is the only copy of the whole of it.
func New(random io.Reader, workspace, name string, scopes []string, now, expires time.Time) (k Key, text string, err error) {
	raw := make([]byte, secretBytes+idLength) // a byte of luck for each character of the ID
	if _, err := io.ReadFull(random, raw); err != nil {
		return Key{}, "", fmt.Errorf("make a key: %w", err)
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

// ParseID returns the ID of the key that text is, without a look at any store.
// ok is false for what cannot be a key: the checksum tells.
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

// Matches reports whether text is the key, in a time that does not tell how
// much of it is right.
func (k Key) Matches(text string) bool {
	hash := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(hash[:], k.Hash[:]) == 1
}

// Usable returns why a key may not be used at a time, "" if it may.
func (k Key) Usable(now time.Time) (why string) {
	switch {
	case !k.RevokedAt.IsZero():
		return "the key was revoked at " + k.RevokedAt.Format(time.RFC3339)
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return "the key expired at " + k.ExpiresAt.Format(time.RFC3339)
	}
	return ""
}

// digits are those of base 62.
const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// base62 writes raw as a number of exactly length digits, the highest left out
// where there are more.
func base62(raw []byte, length int) string {
	n, base, digit := new(big.Int).SetBytes(raw), big.NewInt(int64(len(digits))), new(big.Int)
	text := make([]byte, length)
	for i := length - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		text[i] = digits[digit.Int64()]
	}
	return string(text)
}

// checksum is a CRC-32 of the rest of a key: it tells a key from what looks
// like one, and protects nothing.
func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	return base62(binary.BigEndian.AppendUint32(nil, sum), checksumLength)
}
