package topic_test

import (
	"fmt"

	"github.com/mqttsec/mqttsec/internal/topic"
)

func Example() {
	const granted = "site/7/#"
	fmt.Println(topic.Match(granted, "site/7/temperature"))
	fmt.Println(topic.Contains(granted, "$share/readers/site/7/+"))
	fmt.Println(topic.Contains(granted, "site/+/temperature"))
	fmt.Println(topic.Overlap(granted, "site/+/temperature"))
	// Output:
	// true
	// true
	// false
	// true
}
