package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"

	"github.com/google/uuid"
)

// checksumLen is the length of the checksum in a cursor, in bytes. Our own choice.
const checksumLen = 8

// encodeCursor returns an opaque page cursor for the list of a workspace, after the
// sync id. It contains no secret and needs no signature: a forged cursor reads the
// caller's own list. The checksum detects a cursor that was truncated, changed or
// taken from another workspace.
func encodeCursor(workspace, id string) string {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return "" // not a UUID: the list ends here
	}
	return base64.RawURLEncoding.EncodeToString(append(parsed[:], cursorChecksum(workspace, parsed)...))
}

// decodeCursor returns the sync ID in a cursor. ok is false for a cursor that
// encodeCursor did not return for this workspace.
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

// encodePosition returns an opaque page cursor for a position in a list. scope
// identifies the list; as with encodeCursor it is part of the checksum.
func encodePosition(scope, position string) string {
	return base64.RawURLEncoding.EncodeToString(append(positionChecksum(scope, position), position...))
}

// decodePosition returns the position in a cursor. ok is false for a cursor that
// encodePosition did not return for this scope.
func decodePosition(scope, cursor string) (position string, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < checksumLen {
		return "", false
	}
	position = string(raw[checksumLen:])
	return position, subtle.ConstantTimeCompare(raw[:checksumLen], positionChecksum(scope, position)) == 1
}

func positionChecksum(scope, position string) []byte {
	sum := sha256.Sum256([]byte("syncplane place 1\x00" + scope + "\x00" + position))
	return sum[:checksumLen]
}
