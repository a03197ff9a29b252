// Package e2e holds no code, only the tests that run the whole module against real brokers: every payload scheme in
// every supported client library, over every transport, and the attacks that the schemes promise to survive.
//
// The brokers are in package brokers: mochi-mqtt in this process, and those in processes of their own that are
// installed, Eclipse Mosquitto for everything and ejabberd, RabbitMQ, NATS and aedes for the core. A machine without
// one skips its tests, unless the environment has MQTTSEC_CI=1, where its absence is a failure.
//
// Each test exists twice, with a scheme and with plain clients. The plain run proves that the test itself is right:
// that the eavesdropper does see what is not sealed, that a duplicate does reach a client that nobody protects.
package e2e
