package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"

	"github.com/google/uuid"
)

// checksumLen is the length of the checksum in a cursor, in bytes.
const checksumLen = 8

// encodeCursor is the opaque name of a place in the list of a workspace: after the
// sync id. It holds no secret and needs none: whoever makes one up reads a list
// that is their own. The checksum tells one that was cut, edited or taken from
// another workspace.
func encodeCursor(workspace, id string) string {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return "" // no ID of ours; the list ends here
	}
	return base64.RawURLEncoding.EncodeToString(append(parsed[:], cursorChecksum(workspace, parsed)...))
}

// decodeCursor is the reverse of cursorOf.
func decodeCursor(workspace, cursor string) (id string, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) != len(uuid.UUID{})+checksumLen {
		return "", false
	}
	parsed := uuid.UUID(raw[:len(uuid.UUID{})])
	return parsed.String(), subtle.ConstantTimeCompare(raw[len(parsed):], cursorChecksum(workspace, parsed)) == 1
}

func cursorChecksum(workspace string, id uuid.UUID) []byte {
	sum := sha256.Sum256([]byte("syncplane cursor 1\x00" + workspace + "\x00" + id.String()))
	return sum[:checksumLen]
}

// encodePosition returns an opaque cursor for a place in a list, named by a text. Like
// that of cursorOf its checksum is of the list, here named by scope.
func encodePosition(scope, place string) string {
	return base64.RawURLEncoding.EncodeToString(append(positionChecksum(scope, place), place...))
}

// decodePosition returns the place of a cursor that placeOf made.
func decodePosition(scope, cursor string) (place string, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < checksumLen {
		return "", false
	}
	place = string(raw[checksumLen:])
	return place, subtle.ConstantTimeCompare(raw[:checksumLen], positionChecksum(scope, place)) == 1
}

func positionChecksum(scope, place string) []byte {
	sum := sha256.Sum256([]byte("syncplane place 1\x00" + scope + "\x00" + place))
	return sum[:checksumLen]
}
