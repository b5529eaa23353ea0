// Package jsonpool lends JSON decoders that were used before. A new one
// allocates some ten times while it reads an object; one that is reset does
// not. It knows package jsontext and nothing of what is read.
package jsonpool

import (
	"bytes"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Pool holds the decoders of one kind of text. The zero Pool is ready: its
// decoders refuse duplicate members and invalid UTF-8.
type Pool struct {
	decoders sync.Pool
	options  []jsontext.Options
}

// New returns a Pool whose decoders have these options.
func New(options ...jsontext.Options) *Pool {
	return &Pool{options: options}
}

// Decoder is a decoder on loan.
type Decoder struct {
	jsontext.Decoder
	text bytes.Buffer
}

// Get returns a decoder of text. It belongs to the caller until Return; what
// it has returned of text must not be used after that.
func (p *Pool) Get(text []byte) *Decoder {
	d, ok := p.decoders.Get().(*Decoder)
	if !ok {
		d = &Decoder{}
	}
	d.text = *bytes.NewBuffer(text)
	d.Reset(&d.text, p.options...)
	return d
}

// Put takes d back, and lets go of its text.
func (p *Pool) Put(d *Decoder) {
	d.text = bytes.Buffer{}
	d.Reset(&d.text)
	p.decoders.Put(d)
}

// Unquote is the text of a well-formed JSON string: quoted itself where it has
// no escapes. Invalid UTF-8, where a Pool's options let it in, comes out as
// replacement characters.
func Unquote(quoted jsontext.Value) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	text, _ := jsontext.AppendUnquote(nil, quoted)
	return text
}
