// Package attacks holds no code, only the attacks that this module has to survive, each with the attacker in the test:
// a man in the middle, a rogue client, a rogue broker. Those that need a whole broker run against two: mochi-mqtt
// behind the broker halves in this process, and Debian's mosquitto behind examples/gateway; and on both Eclipse
// clients where the client has a part in it.
//
// # Covered
//
// The number is that of the attack, then come the package and the tests that play it.
//
//	 1  sniff CONNECT: no password, no hash to try passwords on, no secret that can be used again
//	    internal/e2e/attacks     TestSniffed TestBrokerSeesNoCredentials TestTokenOnlyOverTLS TestPasswords
//	    ace                      TestT1UnencryptedConnection
//	    mqttauth                 TestWireHasNoSecret
//	    internal/e2e/mqttauth    TestNothingSecretOnTheWire TestNothingSecretInTwoPhases
//	 2  sniff PUBLISH: payload and sealed properties cannot be read
//	    internal/e2e/attacks     TestSniffed TestCuriousBroker
//	    internal/e2e             TestNothingReadableOnTheWire
//	 3  modify payload, topic, properties, flags; swap topics
//	    internal/e2e             TestEveryBitFlipped TestTopicsSwapped TestPropertiesAdded
//	    internal/e2e/attacks     TestTamperedStream
//	    mqttauth/tlspsk          TestBitFlips
//	    mqttauth/internal/handshake TestEveryBitOfARunCounts TestEveryBitOfASealedFrameCounts
//	 4  replay a PUBLISH, a handshake, a CONNECT, a proof, a TLS session
//	    internal/e2e             TestReplay TestWillReplayed TestOlderRetained
//	    internal/e2e/attacks     TestStolenConnect TestReplayedChallenge TestResumedSession
//	    mqttauth/authbroker      TestReplayedHandshake
//	    mqttauth/internal/handshake TestRepeatedFramesHaveTheSameAnswer TestSplicing
//	    pake                     TestReplayAndReflection
//	 5  reorder and duplicate
//	    internal/e2e             TestReorderedAndRepeated
//	    internal/e2e/attacks     TestTamperedStream
//	    internal/replay          TestNeverTwice
//	 6  impersonate a client: password, verifier, Client Identifier, key
//	    internal/e2e/attacks     TestImpersonation TestForgedAuthentication TestKeysOfOthers
//	    internal/e2e/mqttauth    TestNobodyGetsInWithoutTheProof TestClientIDIsNotTakenOver
//	    mqttauth/internal/handshake TestStolenVerifierIsNoPassword
//	    internal/guard           TestTakeoverByAStranger
//	 7  impersonate the broker or the authority
//	    internal/e2e/attacks     TestFalseBrokers TestStolenConnect TestPasswords
//	    ace                      TestBrokerThatMisbehaves TestT1BrokerThatIsNotVerified
//	    mqttauth                 TestBrokerThatDoesNotProveItself
//	    internal/layer           TestConnackIsTamed
//	 8  offline dictionary; message 4 sent early
//	    pake                     TestEarlyMessage4AllowsAnOfflineDictionary TestTypesKeepMessage4Back
//	    mqttauth/internal/handshake TestWelcomeOutOfOrder
//	 9  online guessing: bounded, and the true user is not locked out
//	    pake                     TestGuessesPerUserAreBounded TestStrangersDoNotLockTheUserOut
//	    mqttauth/internal/handshake TestBudgetIsSpentBeforeTheAnswer
//	    examples/gateway         TestSharedGuesses
//	10  SUBSCRIBE beyond the scope
//	    internal/e2e/attacks     TestSubscribeBeyondScope TestSubscribeBeyondScopeIsTold
//	    internal/guard           TestScopeAttacks
//	    internal/e2e/mqttauth    TestTokensDecide TestSubscriptionsBeyondTheToken
//	11  PUBLISH beyond the scope: each QoS, alias, Will, retained
//	    internal/e2e/attacks     TestPublishBeyondScope TestPublishBeyondScopeIsTold
//	    internal/guard           TestPublishByAlias
//	    internal/e2e/mqttauth    TestTopicAlias TestWill TestMosquittoEnforces
//	12  a token expires or is revoked while connected
//	    internal/e2e/attacks     TestExpiredWhileConnected TestExpiryIsTold TestRenewed
//	    ace/acebroker            TestRevoke
//	    internal/e2e/mqttauth    TestTokenExpires TestOwnerTakesBack TestRevocationCutsOff
//	    internal/guard           TestExpiryIsCheckedOnEveryPacket
//	13  malformed and oversize packets
//	    internal/e2e/attacks     TestMalformed TestHugeLength
//	    internal/layer           TestClaimedLengthReservesNothing TestMalformedIsAnError
//	    internal/e2e             TestBadInput TestLyingLengthTakesNoMemory
//	    mqttauth/tlspsk          TestRecordsWithoutDataAreBounded
//	14  floods: half-open handshakes, hellos, authz-info, connections
//	    internal/e2e/attacks     TestHalfOpen TestTokenSpam TestManyConnections TestTenThousandConnections
//	    internal/layer           TestListenerUnderTenThousandBadPeers TestPendingDrivesOutTheBusiest
//	    mqttauth/internal/handshake TestRunsAreBounded TestOneSourceFillsItsShareAlone
//	    mqttauth/authbroker      TestHelloFlood
//	    ace/acebroker            TestAuthzInfoFlood
//	15  downgrade: version, group, suite, stretching, plain mode, exporter proof on a resumed session
//	    internal/e2e/attacks     TestDowngrade TestResumedSession
//	    ace                      TestT1OldTLS TestM6ResumedSession
//	    mqttauth                 TestStretchingFloor
//	    mqttauth/internal/handshake TestGroupDowngrade
//	    mqttauth/tlspsk          TestClientRefusesServerHello
//	16  cross use of keys, tokens, nonces, transcripts
//	    internal/e2e/attacks     TestCrossUse TestImpersonation
//	    internal/seal            TestSubOpensNothingElse TestSignatureIsBound
//	    mqttauth/internal/token  TestPresentationIsOfOneSession
//	    internal/e2e/mqttauth    TestRequestOfAnotherSession
//	17  a curious broker, bridge or disk
//	    internal/e2e/attacks     TestCuriousBroker TestBrokersDisk TestBrokerSeesNoCredentials
//	    internal/e2e             TestAliasLeavesNothingReadableOnDisk
//	    internal/plug            TestQueueAcrossRestart TestStoreAcrossRestart
//	18  kill: client, broker, gateway, authority, AS
//	    internal/soak            TestSoak
//	    ace/aceserver            TestKilledServerForgetsNothing
//	    mqttauth/authbroker      TestKilledAuthorityForgetsNothing
//	    internal/e2e             TestBrokerRestart
//	    examples/gateway         TestStoreAway
//
// # Not covered
//
// What no scheme here prevents: messages that are dropped or delayed, as long as the connection stays; who talks to
// whom on which topic, when and how much, as far as the broker and whoever sees its traffic can tell; a proof over a
// challenge that a broker with a certificate of its own, which the client trusts, passes on to another (package ace
// says when to use it); a client that gives its token and its key away; a broker that lets others in past the gateway.
//
// Time as a channel: that secrets decide in constant time is for the packages of the ciphers to show. Peers on other
// machines: all of this runs on one.
package attacks
