/*
 * A plugin for Eclipse Mosquitto 2 that lets clients in by the challenge of RFC 9431, section 2.2.4.2.2, for one token and its
 * symmetric key:
 *
 *   plugin /path/of/mosquitto_ace.so
 *   plugin_opt_token PREFIX    the token that is accepted, or rather what it begins with
 *   plugin_opt_key HEX         its key, 32 bytes
 *
 * Build: gcc -shared -fPIC -o mosquitto_ace.so mosquitto_ace.c -lcrypto
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define NONCE 8
#define MAC 32
#define CLIENTS 64

static mosquitto_plugin_id_t *plugin;
static const char *accepted = "";
static unsigned char key[32];

/* The challenges that wait for an answer. */
static struct {
	struct mosquitto *client;
	unsigned char nonce[NONCE];
} pending[CLIENTS];

static int on_start(int event, void *data, void *userdata)
{
	struct mosquitto_evt_extended_auth *auth = data;
	const unsigned char *in = auth->data_in;
	size_t length, i;

	(void)event;
	(void)userdata;
	if (strcmp(auth->auth_method, "ace") != 0)
		return MOSQ_ERR_NOT_SUPPORTED;
	if (auth->data_in_len < 2)
		return MOSQ_ERR_AUTH;
	length = (size_t)in[0] << 8 | in[1];
	if (length + 2 != auth->data_in_len) /* cut, or with a proof over a TLS connection that a plugin cannot see */
		return MOSQ_ERR_AUTH;
	if (length < strlen(accepted) || memcmp(in + 2, accepted, strlen(accepted)) != 0)
		return MOSQ_ERR_AUTH;
	for (i = 0; i < CLIENTS && pending[i].client != NULL && pending[i].client != auth->client; i++)
		;
	if (i == CLIENTS)
		return MOSQ_ERR_AUTH;
	pending[i].client = auth->client;
	if (RAND_bytes(pending[i].nonce, NONCE) != 1)
		return MOSQ_ERR_AUTH;
	auth->data_out = malloc(NONCE);
	if (auth->data_out == NULL)
		return MOSQ_ERR_NOMEM;
	memcpy(auth->data_out, pending[i].nonce, NONCE);
	auth->data_out_len = NONCE;
	mosquitto_log_printf(MOSQ_LOG_NOTICE, "ace: %s is challenged for token %.*s", mosquitto_client_id(auth->client), (int)length, in + 2);
	return MOSQ_ERR_AUTH_CONTINUE;
}

static int on_continue(int event, void *data, void *userdata)
{
	struct mosquitto_evt_extended_auth *auth = data;
	unsigned char input[2 * NONCE], mac[EVP_MAX_MD_SIZE];
	unsigned int size = 0;
	size_t i;

	(void)event;
	(void)userdata;
	for (i = 0; i < CLIENTS && pending[i].client != auth->client; i++)
		;
	if (i == CLIENTS)
		return MOSQ_ERR_AUTH;
	memcpy(input, pending[i].nonce, NONCE);
	pending[i].client = NULL; /* a challenge is good for one answer */
	if (auth->data_in_len != NONCE + MAC)
		return MOSQ_ERR_AUTH;
	memcpy(input + NONCE, auth->data_in, NONCE);
	if (HMAC(EVP_sha256(), key, sizeof key, input, sizeof input, mac, &size) == NULL || size != MAC)
		return MOSQ_ERR_AUTH;
	if (CRYPTO_memcmp(mac, (const unsigned char *)auth->data_in + NONCE, MAC) != 0)
		return MOSQ_ERR_AUTH;
	mosquitto_log_printf(MOSQ_LOG_NOTICE, "ace: %s has the key", mosquitto_client_id(auth->client));
	return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_version(int count, const int *versions)
{
	int i;

	for (i = 0; i < count; i++)
		if (versions[i] == 5)
			return 5;
	return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **userdata, struct mosquitto_opt *options, int count)
{
	int i, rc;
	unsigned int octet;
	size_t n;

	(void)userdata;
	plugin = id;
	for (i = 0; i < count; i++) {
		if (strcmp(options[i].key, "token") == 0)
			accepted = options[i].value;
		if (strcmp(options[i].key, "key") == 0) {
			if (strlen(options[i].value) != 2 * sizeof key)
				return MOSQ_ERR_INVAL;
			for (n = 0; n < sizeof key; n++) {
				if (sscanf(options[i].value + 2 * n, "%2x", &octet) != 1)
					return MOSQ_ERR_INVAL;
				key[n] = (unsigned char)octet;
			}
		}
	}
	rc = mosquitto_callback_register(plugin, MOSQ_EVT_EXT_AUTH_START, on_start, NULL, NULL);
	if (rc == MOSQ_ERR_SUCCESS)
		rc = mosquitto_callback_register(plugin, MOSQ_EVT_EXT_AUTH_CONTINUE, on_continue, NULL, NULL);
	return rc;
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int count)
{
	(void)userdata;
	(void)options;
	(void)count;
	mosquitto_callback_unregister(plugin, MOSQ_EVT_EXT_AUTH_START, on_start, NULL);
	mosquitto_callback_unregister(plugin, MOSQ_EVT_EXT_AUTH_CONTINUE, on_continue, NULL);
	return MOSQ_ERR_SUCCESS;
}
