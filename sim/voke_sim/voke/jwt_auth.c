/* Logins by JWT for the local Voke's broker: the token is the MQTT password.
 *
 * A token is accepted if it is signed with RS256 by the key registered for its user name, has not
 * expired, and its "sub" is the user name. Nothing of a token is parsed before its signature was
 * verified, and always as RS256: what the token says about its algorithm can only refuse it.
 * Like the plugin Voke runs, public keys are read as PKCS#1 DER only (protocol §3).
 *
 * Options, exactly one:
 *   plugin_opt_key_file       one key for the listener
 *   plugin_opt_key_directory  one key per plant: <user name>.der
 * Keys are read at each login, so that a key can be added, replaced or removed without a reload.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

#include <cjson/cJSON.h>
#include <openssl/err.h>
#include <openssl/evp.h>

enum {
    MAX_USERNAME = 64,
    MAX_TOKEN = 4096,
    MAX_DECODED = MAX_TOKEN / 4 * 3,
    MAX_KEY_FILE = 2048,
    MAX_PATH_LENGTH = 4096,
    MIN_RSA_BITS = 2048,
    MAX_RSA_BITS = 8192,
};

struct settings {
    mosquitto_plugin_id_t *identifier;
    char *key_file;
    char *key_directory;
};

struct segment {
    const char *text;
    size_t length;
};

/* A user name is part of a path and of the access rules, so only what a plant id can hold. */
static bool is_plain_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t length = strnlen(name, MAX_USERNAME + 1);
    return length > 0 && length <= MAX_USERNAME && strspn(name, allowed) == length;
}

static int base64url_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '-') return 62;
    if (c == '_') return 63;
    return -1;
}

/* Strict: no padding, no other characters, unused bits zero. The result is NUL-terminated. */
static bool decode_base64url(struct segment in, unsigned char out[MAX_DECODED + 1], size_t *out_length)
{
    uint32_t bits = 0;
    unsigned pending = 0;
    size_t written = 0;

    if (in.length == 0 || in.length % 4 == 1 || in.length > MAX_TOKEN) return false;
    for (size_t i = 0; i < in.length; i++) {
        int value = base64url_value(in.text[i]);
        if (value < 0) return false;
        bits = (bits << 6 | (uint32_t)value) & 0xFFFF;
        pending += 6;
        if (pending >= 8) {
            pending -= 8;
            out[written++] = (unsigned char)(bits >> pending);
        }
    }
    if (bits & ((1U << pending) - 1U)) return false;
    out[written] = '\0';
    *out_length = written;
    return true;
}

static bool split_token(const char *token, struct segment part[3])
{
    const char *first, *second;
    size_t length = strnlen(token, MAX_TOKEN + 1);

    if (length > MAX_TOKEN) return false;
    first = memchr(token, '.', length);
    if (first == NULL) return false;
    second = memchr(first + 1, '.', length - (size_t)(first + 1 - token));
    if (second == NULL) return false;
    part[0] = (struct segment){token, (size_t)(first - token)};
    part[1] = (struct segment){first + 1, (size_t)(second - first - 1)};
    part[2] = (struct segment){second + 1, length - (size_t)(second + 1 - token)};
    return true;
}

static EVP_PKEY *parse_pkcs1_der(const unsigned char *der, size_t length)
{
    const unsigned char *cursor = der;
    EVP_PKEY *key = d2i_PublicKey(EVP_PKEY_RSA, NULL, &cursor, (long)length);

    if (key != NULL) {
        int size = EVP_PKEY_bits(key);
        if (cursor == der + length && size >= MIN_RSA_BITS && size <= MAX_RSA_BITS) return key;
        EVP_PKEY_free(key);
    }
    return NULL;
}

/* Returns why there is no key, or NULL. */
static const char *load_key(const struct settings *settings, const char *username, EVP_PKEY **key)
{
    char path[MAX_PATH_LENGTH];
    unsigned char der[MAX_KEY_FILE + 1];
    size_t length;
    bool failed;
    FILE *file;
    int printed = settings->key_file != NULL
        ? snprintf(path, sizeof path, "%s", settings->key_file)
        : snprintf(path, sizeof path, "%s/%s.der", settings->key_directory, username);

    if (printed < 0 || (size_t)printed >= sizeof path) return "the path of the public key is too long";
    file = fopen(path, "rb");
    if (file == NULL) return "no public key is registered for this user name";
    length = fread(der, 1, sizeof der, file);
    failed = ferror(file) != 0;
    (void)fclose(file);
    if (failed) return "the public key cannot be read";
    if (length > MAX_KEY_FILE) return "the public key file is too long";
    *key = parse_pkcs1_der(der, length);
    return *key == NULL ? "the public key is not PKCS#1 DER of an RSA key of 2048 to 8192 bits" : NULL;
}

static bool signature_is_valid(EVP_PKEY *key, const char *signed_text, size_t signed_length,
                               const unsigned char *signature, size_t signature_length)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool valid = context != NULL
        && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1
        && EVP_DigestVerify(context, signature, signature_length,
                            (const unsigned char *)signed_text, signed_length) == 1;
    EVP_MD_CTX_free(context);
    return valid;
}

/* cJSON ends a string at an escaped NUL, which would make "a\u0000b" equal to "a". */
static cJSON *parse_object(const unsigned char *text, size_t length)
{
    cJSON *document;

    if (memchr(text, '\0', length) != NULL || strstr((const char *)text, "\\u0000") != NULL) return NULL;
    document = cJSON_ParseWithLengthOpts((const char *)text, length + 1, NULL, true);
    if (document != NULL && !cJSON_IsObject(document)) {
        cJSON_Delete(document);
        return NULL;
    }
    return document;
}

static const cJSON *member(const cJSON *object, const char *name, int *count)
{
    const cJSON *found = NULL, *item;

    *count = 0;
    cJSON_ArrayForEach(item, object) {
        if (strcmp(item->string, name) == 0) {
            found = item;
            (*count)++;
        }
    }
    return found;
}

/* The member of that name if it is there exactly once: parsers disagree about a second one. */
static const cJSON *only_member(const cJSON *object, const char *name)
{
    int count;
    const cJSON *found = member(object, name, &count);
    return count == 1 ? found : NULL;
}

static bool has_member(const cJSON *object, const char *name)
{
    int count;
    (void)member(object, name, &count);
    return count > 0;
}

static const char *check_header(const unsigned char *text, size_t length)
{
    cJSON *header = parse_object(text, length);
    const char *reason = NULL;
    const cJSON *algorithm;

    if (header == NULL) return "the header is not a JSON object";
    algorithm = only_member(header, "alg");
    if (!cJSON_IsString(algorithm) || strcmp(algorithm->valuestring, "RS256") != 0) {
        reason = "the algorithm is not RS256";
    } else if (has_member(header, "crit")) {
        reason = "the header has critical extensions";
    }
    cJSON_Delete(header);
    return reason;
}

static const char *check_claims(const unsigned char *text, size_t length, const char *username, double now)
{
    cJSON *claims = parse_object(text, length);
    const char *reason = NULL;
    const cJSON *subject, *expiry, *not_before;

    if (claims == NULL) return "the claims are not a JSON object";
    subject = only_member(claims, "sub");
    expiry = only_member(claims, "exp");
    not_before = only_member(claims, "nbf");
    if (!cJSON_IsString(subject) || strcmp(subject->valuestring, username) != 0) {
        reason = "the user name is not the token's sub";
    } else if (!cJSON_IsNumber(expiry) || !(expiry->valuedouble > now)) {
        reason = "the token has expired or has no exp";
    } else if (has_member(claims, "nbf") && (!cJSON_IsNumber(not_before) || !(not_before->valuedouble <= now))) {
        reason = "the token is not valid yet";
    }
    cJSON_Delete(claims);
    return reason;
}

/* Returns why the login is refused, or NULL. Reasons are constants: no byte of a token is logged. */
static const char *check_login(const struct settings *settings, const char *username, const char *token,
                               double now)
{
    struct segment part[3];
    unsigned char decoded[3][MAX_DECODED + 1];
    size_t length[3];
    const char *reason;
    EVP_PKEY *key = NULL;
    bool valid;

    if (username == NULL || token == NULL) return "user name or token is missing";
    if (!is_plain_name(username)) return "the user name is not a plant id";
    if (!split_token(token, part)) return "the token does not have three parts within 4096 bytes";
    for (int i = 0; i < 3; i++) {
        if (!decode_base64url(part[i], decoded[i], &length[i])) return "the token is not base64url";
    }
    reason = load_key(settings, username, &key);
    if (reason == NULL) {
        valid = signature_is_valid(key, token, part[0].length + 1 + part[1].length, decoded[2], length[2]);
        EVP_PKEY_free(key);
        reason = valid ? NULL : "the signature does not verify";
    }
    /* What is left in this queue would be taken for an error of the next TLS connection. */
    ERR_clear_error();
    if (reason == NULL) reason = check_header(decoded[0], length[0]);
    if (reason == NULL) reason = check_claims(decoded[1], length[1], username, now);
    return reason;
}

static int on_basic_auth(int event, void *event_data, void *user_data)
{
    const struct mosquitto_evt_basic_auth *login = event_data;
    const char *reason = check_login(user_data, login->username, login->password, (double)time(NULL));

    (void)event;
    if (reason == NULL) return MOSQ_ERR_SUCCESS;
    mosquitto_log_printf(MOSQ_LOG_NOTICE, "jwt_auth: login refused: %s", reason);
    return MOSQ_ERR_AUTH;
}

int mosquitto_plugin_version(int supported_count, const int *supported)
{
    for (int i = 0; i < supported_count; i++) {
        if (supported[i] == MOSQ_PLUGIN_VERSION) return MOSQ_PLUGIN_VERSION;
    }
    return -1;
}

static void free_settings(struct settings *settings)
{
    free(settings->key_file);
    free(settings->key_directory);
    free(settings);
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **user_data, struct mosquitto_opt *options,
                          int option_count)
{
    struct settings *settings = calloc(1, sizeof *settings);
    int outcome;

    if (settings == NULL) return MOSQ_ERR_NOMEM;
    settings->identifier = identifier;
    for (int i = 0; i < option_count; i++) {
        char **target = strcmp(options[i].key, "key_file") == 0 ? &settings->key_file
            : strcmp(options[i].key, "key_directory") == 0      ? &settings->key_directory
                                                                : NULL;
        if (target != NULL && *target == NULL) *target = strdup(options[i].value);
    }
    if ((settings->key_file == NULL) == (settings->key_directory == NULL)) {
        mosquitto_log_printf(MOSQ_LOG_ERR,
                             "jwt_auth: set either plugin_opt_key_file or plugin_opt_key_directory");
        free_settings(settings);
        return MOSQ_ERR_INVAL;
    }
    outcome = mosquitto_callback_register(identifier, MOSQ_EVT_BASIC_AUTH, on_basic_auth, NULL, settings);
    if (outcome != MOSQ_ERR_SUCCESS) {
        free_settings(settings);
        return outcome;
    }
    *user_data = settings;
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_cleanup(void *user_data, struct mosquitto_opt *options, int option_count)
{
    struct settings *settings = user_data;
    int outcome;

    (void)options;
    (void)option_count;
    if (settings == NULL) return MOSQ_ERR_SUCCESS;
    outcome = mosquitto_callback_unregister(settings->identifier, MOSQ_EVT_BASIC_AUTH, on_basic_auth, NULL);
    free_settings(settings);
    return outcome;
}
