// Package site runs what protects a broker of somebody else's, as a deployment would: an Authorization Server
// (examples/as) and a gateway (examples/gateway) in processes of their own, with keys and certificates made for the
// occasion, on ports of 127.0.0.1 that outlive a restart. Tests attack it, and a soak run kills it.
//
// It is meant for one machine and a short life. Secrets lie in a temporary directory.
package site
