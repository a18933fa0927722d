package plan

// Next is the token of a text that begins at i, for callers that have to look between two of them, as one that knows client
// commands has. An error says that the token has no end; it reaches up to the text's then.
func Next(src string, i int, s Syntax) (Token, error) {
	kind, end := s.token(src, i)
	if end < 0 {
		return Token{kind, i, len(src)}, unclosed(src, i, kind)
	}
	return Token{kind, i, end}, nil
}
