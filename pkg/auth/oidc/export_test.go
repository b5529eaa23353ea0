package oidc

import (
	"errors"
	"time"
)

// VerifySignature verifies the signature of a message with the first key of a
// set. The messages of raw signature vectors are not tokens.
func VerifySignature(set []byte, algorithm, message string, signature []byte) error {
	keys, err := parseKeys(set)
	if err != nil {
		return err
	}
	if _, ok := keys[0].methods[algorithm]; !ok {
		return errors.New("the key is not for this algorithm")
	}
	t := token{signed: message, signature: signature, header: header{algorithm: algorithm}}
	if !t.verify(keys[0]) {
		return errors.New("the signature does not match")
	}
	return nil
}

// NewSources returns a Verifier of issuers whose keys come from sources.
func NewSources(now func() time.Time, sources ...KeySource) *Verifier {
	v := &Verifier{now: now}
	for _, source := range sources {
		v.add(Config{}, source)
	}
	return v
}

// MayName reports whether tokens of an issuer may name a workspace, which c.Workspace,
// the values of c.WorkspaceMap and c.Workspaces decide.
func MayName(c Config, workspace string) bool {
	for value := range c.WorkspaceMap {
		if named, err := c.workspace(claims{workspace: &value}); err == nil && named == workspace {
			return true
		}
	}
	named, err := c.workspace(claims{workspace: &workspace})
	return err == nil && named == workspace
}
