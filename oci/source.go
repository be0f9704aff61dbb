package oci

import (
	"io"
)

// source gives out parts of a blob. One that cannot seek, such as a layer that
// comes from another image registry, is read on while the parts follow each
// other and opened again where they do not.
type source struct {
	open   func() (io.ReadCloser, error)
	stream io.ReadCloser // of a blob that cannot seek
	pos    int64         // of stream, once the part given out last was read
}

func (s *source) section(offset, n int64) (io.ReadCloser, error) {
	if s.stream != nil && s.pos == offset {
		s.pos += n
		return io.NopCloser(io.LimitReader(s.stream, n)), nil
	}
	s.drop()
	r, err := s.open()
	if err != nil {
		return nil, err
	}
	if seeker, ok := r.(io.Seeker); ok {
		if _, err := seeker.Seek(offset, io.SeekStart); err != nil {
			r.Close()
			return nil, err
		}
		return &part{io.LimitReader(r, n), r}, nil
	}
	if _, err := io.CopyN(io.Discard, r, offset); err != nil {
		r.Close()
		return nil, err
	}
	s.stream, s.pos = r, offset+n
	return io.NopCloser(io.LimitReader(r, n)), nil
}

// drop closes the stream. A request that failed may still read from it, and
// gets an error then.
func (s *source) drop() {
	if s.stream != nil {
		s.stream.Close()
	}
	s.stream, s.pos = nil, 0
}

type part struct {
	io.Reader
	io.Closer
}
