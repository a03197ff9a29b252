package presentcipher_test

import (
	"fmt"

	"github.com/mqttsec/mqttsec/present/presentcipher"
)

func ExampleNewAEAD() {
	key := [presentcipher.KeySize]byte{0x73, 0xa9, 0xbe, 0xf4} // 16 secret random bytes
	aead, err := presentcipher.NewAEAD(key)
	if err != nil {
		panic(err)
	}
	nonce := []byte{0, 0, 0, 0, 0, 1} // a counter: never twice under one key
	sealed := aead.Seal(nil, nonce, []byte("21.5 °C"), []byte("room/3"))
	fmt.Println(len(sealed), "bytes")

	opened, err := aead.Open(nil, nonce, sealed, []byte("room/3"))
	fmt.Printf("%s %v\n", opened, err)
	_, err = aead.Open(nil, nonce, sealed, []byte("room/4"))
	fmt.Println(err)
	// Output:
	// 16 bytes
	// 21.5 °C <nil>
	// presentcipher: message authentication failed
}

func ExampleNewCipher() {
	key := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	c, err := presentcipher.NewCipher(key)
	if err != nil {
		panic(err)
	}
	block := []byte{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77}
	c.Encrypt(block, block)
	fmt.Printf("%x\n", block)
	c.Decrypt(block, block)
	fmt.Printf("%x\n", block)
	// Output:
	// e6b982239df3515d
	// 0011223344556677
}
