package oidc

import "errors"

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
