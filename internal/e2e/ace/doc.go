// Package ace holds no code, only the tests that run the client, the broker half and the Authorization Server of RFC
// 9431 against each other and against programs that share no code with them.
package ace
