package ace

import "time"

// clock is the time that renewal and expiry go by.
type clock interface {
	Now() time.Time
	AfterFunc(time.Duration, func()) (stop func() bool)
}

// systemClock is the machine's.
type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}
