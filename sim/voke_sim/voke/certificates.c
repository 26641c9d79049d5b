/* Writes into the broker's log which client certificate a session of the mTLS listener was opened with:
 *
 *   <client id> subscribes with certificate <serial number, hexadecimal>
 *
 * mosquitto asks plugins for access and not about logins by certificate, and a plant subscribes once a session.
 * It decides nothing.
 */
#include <stdio.h>

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>

static int on_acl_check(int event, void *event_data, void *user_data)
{
    struct mosquitto_evt_acl_check *check = event_data;
    X509 *certificate;
    BIGNUM *serial;
    char *text;

    (void)event;
    (void)user_data;
    if (check->access != MOSQ_ACL_SUBSCRIBE) return MOSQ_ERR_PLUGIN_DEFER;
    certificate = mosquitto_client_certificate(check->client);
    if (certificate == NULL) return MOSQ_ERR_PLUGIN_DEFER;
    serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    text = serial == NULL ? NULL : BN_bn2hex(serial);
    if (text != NULL) {
        mosquitto_log_printf(MOSQ_LOG_INFO, "%s subscribes with certificate %s",
                             mosquitto_client_id(check->client), text);
    }
    OPENSSL_free(text);
    BN_free(serial);
    X509_free(certificate);
    return MOSQ_ERR_PLUGIN_DEFER;
}

int mosquitto_plugin_version(int supported_version_count, const int *supported_versions)
{
    for (int i = 0; i < supported_version_count; i++) {
        if (supported_versions[i] == 5) return 5;
    }
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **user_data, struct mosquitto_opt *options,
                          int option_count)
{
    (void)options;
    (void)option_count;
    *user_data = identifier;
    return mosquitto_callback_register(identifier, MOSQ_EVT_ACL_CHECK, on_acl_check, NULL, NULL);
}

int mosquitto_plugin_cleanup(void *user_data, struct mosquitto_opt *options, int option_count)
{
    (void)options;
    (void)option_count;
    return mosquitto_callback_unregister(user_data, MOSQ_EVT_ACL_CHECK, on_acl_check, NULL);
}
