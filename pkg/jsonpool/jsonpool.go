// Package jsonpool pools JSON decoders. A new decoder allocates some ten times while
// it reads an object; one that is reset does not. The package knows package jsontext
// and nothing of the content.
package jsonpool

import (
	"bytes"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Pool is a pool of decoders with the same options. The decoders of the zero Pool
// reject duplicate members and invalid UTF-8.
type Pool struct {
	decoders sync.Pool
	options  []jsontext.Options
}

// New returns a Pool of decoders with these options.
func New(options ...jsontext.Options) *Pool {
	return &Pool{options: options}
}

// Decoder is a decoder of a Pool.
type Decoder struct {
	jsontext.Decoder
	text bytes.Buffer
}

// Get returns a decoder of text. The caller owns it until Put; the values that it has
// returned must not be used after that.
func (p *Pool) Get(text []byte) *Decoder {
	d, ok := p.decoders.Get().(*Decoder)
	if !ok {
		d = &Decoder{}
	}
	d.text = *bytes.NewBuffer(text)
	d.Reset(&d.text, p.options...)
	return d
}

// Put returns d to the pool and drops its reference to the text.
func (p *Pool) Put(d *Decoder) {
	d.text = bytes.Buffer{}
	d.Reset(&d.text)
	p.decoders.Put(d)
}

// Unquote returns the text of a well-formed JSON string, which shares the memory of
// quoted if it has no escapes. Invalid UTF-8, if the options of a Pool allow it,
// becomes replacement characters.
func Unquote(quoted jsontext.Value) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	text, _ := jsontext.AppendUnquote(nil, quoted)
	return text
}
