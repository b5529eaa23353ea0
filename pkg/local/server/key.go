// Package server runs the HTTP API on one machine: it turns HTTP requests into API
// Gateway events for the handler that also runs in Lambda, streams events, serves the
// documentation and signs tokens for development. It knows package api and the feed of
// package bolt; it does not call AWS.
package server

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The issuer, the audience and the workspace claim of local tokens.
const (
	Issuer         = "syncplane-local"
	Audience       = "syncplane"
	WorkspaceClaim = "workspace_id"
)

// Key signs tokens for the local server.
type Key struct {
	private ed25519.PrivateKey
	public  publicKey
}

// publicKey is a public key as a JSON Web Key (RFC 8037, section 2).
type publicKey struct {
	KeyType   string `json:"kty"`
	ID        string `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
}

// keyFile is the signing key in the data directory, PKCS #8 in PEM.
const keyFile = "signing-key.pem"

// OpenKey reads the signing key of a data directory. It creates the directory and the
// key if they do not exist. Only the owner can read the file.
func OpenKey(dataDir string) (Key, error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return Key{}, fmt.Errorf("create the data directory: %w", err)
	}
	path := filepath.Join(dataDir, keyFile)
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := writeNewKey(path); err != nil {
		return Key{}, err
	}
	return readKey(path)
}

// HasKey reports whether a data directory has a signing key.
func HasKey(dataDir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dataDir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func readKey(path string) (Key, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator's own directory
	if err != nil {
		return Key{}, fmt.Errorf("read the signing key: %w", err)
	}
	unusable := fmt.Errorf("%s is not a valid signing key; remove it and a new one is generated", path)
	block, _ := pem.Decode(text)
	if block == nil {
		return Key{}, unusable
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return Key{}, unusable
	}
	return newKey(private), nil
}

// writeNewKey generates a key and writes its file. If two processes do so
// concurrently, the complete file of one of them stays.
func writeNewKey(path string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("generate a signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("encode the signing key: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), keyFile+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write the signing key: %w", err)
	}
	defer os.Remove(file.Name()) //nolint:errcheck // the link below stays
	err = errors.Join(pem.Encode(file, &pem.Block{Type: "PRIVATE KEY", Bytes: der}), file.Sync(), file.Close())
	if err == nil {
		err = os.Link(file.Name(), path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write the signing key: %w", err)
	}
	return nil
}

// SampleKey returns the key that signs the tokens in events/. It is public, so only
// env.local.json and `syncplane invoke` accept it.
func SampleKey() Key {
	seed := sha256.Sum256([]byte("syncplane: the key of the sample events, worthless on purpose"))
	return newKey(ed25519.NewKeyFromSeed(seed[:]))
}

func newKey(private ed25519.PrivateKey) Key {
	x := base64.RawURLEncoding.EncodeToString(private[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
	thumbprint := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`)) // RFC 7638
	return Key{private: private, public: publicKey{
		KeyType: "OKP", ID: fmt.Sprintf("%x", thumbprint[:8]), Use: "sig", Algorithm: "EdDSA", Curve: "Ed25519", X: x,
	}}
}

// ID returns the ID of the key, which its tokens name. It is public.
func (k Key) ID() string { return k.public.ID }

// KeySet returns the JSON Web Key Set with the public keys of keys.
func KeySet(keys ...Key) ([]byte, error) {
	var set struct {
		Keys []publicKey `json:"keys"`
	}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.public)
	}
	text, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encode the key set: %w", err)
	}
	return text, nil
}

// Claims holds the claims of a local token.
type Claims struct {
	Workspace string
	Scopes    []string
	Issued    time.Time
	Expires   time.Time
}

// Token returns a signed token.
func (k Key) Token(c Claims) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss":          Issuer,
		"aud":          Audience,
		"sub":          "developer",
		WorkspaceClaim: c.Workspace,
		"scope":        strings.Join(c.Scopes, " "),
		"iat":          c.Issued.Unix(),
		"exp":          c.Expires.Unix(),
	})
	token.Header["typ"] = "at+jwt"
	token.Header["kid"] = k.public.ID
	text, err := token.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return text, nil
}
