package mqttauth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
)

// The file of a wallet:
//
//	"mqttauth wallet 1" | check 16 | salt 32 | AES-256-GCM of the records | tag 16
//
// under the key HKDF-SHA-256(key, salt, "mqttauth v1 wallet"), which is of this one content of the file, and with an
// all-zero nonce; all before the records is the associated data. check is HKDF(key, "", "mqttauth v1 wallet check"),
// which tells a wrong key from a broken file. A record is a kind, 1 for a token and 2 for an owner token, and v16 of
// its binary form.
const (
	walletMagic     = "mqttauth wallet 1"
	walletCheckSize = 16
	walletSaltSize  = 32
	walletHeader    = len(walletMagic) + walletCheckSize + walletSaltSize
	walletKeySize   = 32
	maxWallet       = 16 << 20

	recordToken = 1
	recordOwner = 2
)

// What can be wrong with a wallet's file.
var (
	// ErrWalletKey: the file was sealed under another key.
	ErrWalletKey = errors.New("mqttauth: the wallet is sealed under another key")
	// ErrWallet: the file is no wallet, or was changed.
	ErrWallet = errors.New("mqttauth: not a wallet, or a damaged one")
)

// FileWallet is a Wallet in a file, which holds an owner's secrets too. The file is sealed under a key: who reads it
// learns how long it is, and who changes it is found out, except for putting back an older content. A change is
// written beside the file and takes its place only once it is safe on the disk, so that a crash at any moment leaves
// the wallet before or after it.
//
// One process at a time may use a file.
type FileWallet struct {
	path string
	key  func() []byte // a function, so that no verb of fmt prints it

	mu     sync.Mutex
	tokens []Token
	owners []OwnerToken
}

// NewFileWallet opens the wallet at path, whose directory must exist, or begins a new one if there is none. key is 32
// random octets, kept where the device keeps secrets. The error is ErrWalletKey, ErrWallet, or the operating
// system's.
func NewFileWallet(path string, key []byte) (*FileWallet, error) {
	if len(key) != walletKeySize {
		return nil, fmt.Errorf("mqttauth: the key of a wallet has %d octets, not %d", len(key), walletKeySize)
	}
	own := append([]byte(nil), key...)
	w := &FileWallet{path: path, key: func() []byte { return own }}
	b, err := readWallet(path)
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err != nil {
		return nil, fmt.Errorf("mqttauth: wallet: %w", err)
	}
	records, err := openWallet(own, b)
	if err != nil {
		return nil, err
	}
	w.tokens, w.owners, err = parseRecords(records)
	return w, err
}

func readWallet(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxWallet+1))
}

// Format writes the type and the path alone.
func (w *FileWallet) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "mqttauth.FileWallet(%q)", w.path) }

// Tokens returns all tokens, in the order in which they were added.
func (w *FileWallet) Tokens() ([]Token, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Token(nil), w.tokens...), nil
}

// Add keeps a token. It is on the disk when Add returns.
func (w *FileWallet) Add(t Token) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	tokens := with(w.tokens[:len(w.tokens):len(w.tokens)], t)
	if len(tokens) == len(w.tokens) {
		return nil
	}
	return w.store(tokens, w.owners)
}

// Remove forgets a token.
func (w *FileWallet) Remove(id TokenID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	tokens := without(w.tokens, id)
	if len(tokens) == len(w.tokens) {
		return nil
	}
	return w.store(tokens, w.owners)
}

// Owners returns all owner tokens.
func (w *FileWallet) Owners() ([]OwnerToken, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]OwnerToken(nil), w.owners...), nil
}

// AddOwner keeps an owner token, in place of one for the same filter and claim.
func (w *FileWallet) AddOwner(o OwnerToken) error {
	if o.IsZero() {
		return fmt.Errorf("%w: the zero OwnerToken", ErrFilter)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.store(w.tokens, append(withoutOwner(w.owners, o.Claim(), o.Filter()), o))
}

// RemoveOwner forgets the owner tokens of a claim, those of its branches included.
func (w *FileWallet) RemoveOwner(claim string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var kept []OwnerToken
	for _, o := range w.owners {
		if o.Claim() != claim {
			kept = append(kept, o)
		}
	}
	return w.store(w.tokens, kept)
}

func withoutOwner(owners []OwnerToken, claim, filter string) []OwnerToken {
	kept := make([]OwnerToken, 0, len(owners)+1)
	for _, o := range owners {
		if o.Claim() != claim || o.Filter() != filter {
			kept = append(kept, o)
		}
	}
	return kept
}

// store writes the file and then takes over what it holds.
func (w *FileWallet) store(tokens []Token, owners []OwnerToken) error {
	var records []byte
	for _, t := range tokens {
		b, err := t.MarshalBinary()
		if err != nil {
			return err
		}
		records = codec.AppendV16(append(records, recordToken), b)
	}
	for _, o := range owners {
		b, err := o.MarshalBinary()
		if err != nil {
			return err
		}
		records = codec.AppendV16(append(records, recordOwner), b)
	}
	sealed, err := sealWallet(w.key(), records)
	clear(records)
	if err != nil {
		return err
	}
	if err := replaceFile(w.path, sealed); err != nil {
		return fmt.Errorf("mqttauth: wallet: %w", err)
	}
	w.tokens, w.owners = tokens, owners
	return nil
}

// replaceFile puts content in the place of the file at path, wholly or not at all.
func replaceFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp") // of mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	syncDir(dir)
	return nil
}

// syncDir makes a rename last. Systems that cannot do it for a directory say so, and do it by themselves.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
}

func walletAEAD(key, salt []byte) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, key, salt, "mqttauth v1 wallet", walletKeySize)
	if err != nil {
		return nil, err
	}
	defer clear(derived)
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func walletCheck(key []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, key, nil, "mqttauth v1 wallet check", walletCheckSize)
}

func sealWallet(key, records []byte) ([]byte, error) {
	check, err := walletCheck(key)
	if err != nil {
		return nil, err
	}
	b := append([]byte(walletMagic), check...)
	var salt [walletSaltSize]byte
	rand.Read(salt[:]) // never fails
	b = append(b, salt[:]...)
	aead, err := walletAEAD(key, salt[:])
	if err != nil {
		return nil, err
	}
	if walletHeader+len(records)+aead.Overhead() > maxWallet {
		return nil, fmt.Errorf("%w: more than %d octets", ErrWallet, maxWallet)
	}
	return aead.Seal(b, make([]byte, aead.NonceSize()), records, b), nil
}

func openWallet(key, b []byte) ([]byte, error) {
	if len(b) < walletHeader || len(b) > maxWallet || string(b[:len(walletMagic)]) != walletMagic {
		return nil, ErrWallet
	}
	check, err := walletCheck(key)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(check, b[len(walletMagic):][:walletCheckSize]) != 1 {
		return nil, ErrWalletKey
	}
	aead, err := walletAEAD(key, b[walletHeader-walletSaltSize:walletHeader])
	if err != nil {
		return nil, err
	}
	records, err := aead.Open(nil, make([]byte, aead.NonceSize()), b[walletHeader:], b[:walletHeader])
	if err != nil {
		return nil, ErrWallet
	}
	return records, nil
}

// parseRecords reads what store wrote.
func parseRecords(b []byte) (tokens []Token, owners []OwnerToken, err error) {
	for len(b) > 0 {
		if len(b) < 3 || len(b) < 3+int(binary.BigEndian.Uint16(b[1:])) {
			return nil, nil, ErrWallet
		}
		kind, record := b[0], b[3:3+int(binary.BigEndian.Uint16(b[1:]))]
		b = b[3+len(record):]
		switch kind {
		case recordToken:
			var t Token
			err = t.UnmarshalBinary(record)
			tokens = append(tokens, t)
		case recordOwner:
			var o OwnerToken
			err = o.UnmarshalBinary(record)
			owners = append(owners, o)
		default:
			err = fmt.Errorf("a record of kind %d", kind)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrWallet, err)
		}
	}
	return tokens, owners, nil
}
