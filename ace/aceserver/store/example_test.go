package store_test

import (
	"fmt"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
)

func Example() {
	s := store.NewMemory()
	err := s.Update(func(tx store.Tx) error { return tx.Put("bucket", "key", []byte("value")) })
	if err != nil {
		fmt.Println(err)
		return
	}
	err = s.View(func(tx store.Tx) error {
		fmt.Printf("%s\n", tx.Get("bucket", "key"))
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: value
}
