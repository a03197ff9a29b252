package mqttauth

import "sync"

// Wallet keeps the tokens of a client, which presents them after every handshake. Its methods are called by several
// goroutines.
type Wallet interface {
	// Tokens returns all tokens.
	Tokens() ([]Token, error)
	// Add keeps a token. One that is there already is no error.
	Add(t Token) error
	// Remove forgets a token. One that is not there is no error.
	Remove(id TokenID) error
}

// MemoryWallet is a Wallet that ends with the process. The zero value is ready to use.
type MemoryWallet struct {
	mu     sync.Mutex
	tokens []Token
}

// NewWallet returns a MemoryWallet with these tokens.
func NewWallet(tokens ...Token) *MemoryWallet {
	w := &MemoryWallet{}
	for _, t := range tokens {
		w.tokens = with(w.tokens, t)
	}
	return w
}

// Tokens returns all tokens, in the order in which they were added.
func (w *MemoryWallet) Tokens() ([]Token, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Token(nil), w.tokens...), nil
}

// Add keeps a token.
func (w *MemoryWallet) Add(t Token) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens = with(w.tokens, t)
	return nil
}

// Remove forgets a token.
func (w *MemoryWallet) Remove(id TokenID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens = without(w.tokens, id)
	return nil
}

// with returns tokens and t, unless it is among them.
func with(tokens []Token, t Token) []Token {
	if t.IsZero() {
		return tokens
	}
	for _, other := range tokens {
		if other.ID() == t.ID() {
			return tokens
		}
	}
	return append(tokens, t)
}

// without returns tokens but the one with this id, in a slice of its own.
func without(tokens []Token, id TokenID) []Token {
	kept := make([]Token, 0, len(tokens))
	for _, t := range tokens {
		if t.ID() != id {
			kept = append(kept, t)
		}
	}
	return kept
}
