/* Runs the plugin's login check without a broker, under the address and undefined-behaviour sanitizers.
 * Each line on stdin is the user name and the token in hex, separated by a space ("-" for none); each line
 * on stdout is 1 (accepted) or 0. The broker's functions are stood in for by the least that does. */
#include "jwt_auth.c"

static MOSQ_FUNC_generic_callback registered;
static void *registered_data;

void mosquitto_log_printf(int level, const char *format, ...) { (void)level; (void)format; }

int mosquitto_callback_register(mosquitto_plugin_id_t *identifier, int event, MOSQ_FUNC_generic_callback callback,
                                const void *event_data, void *user_data)
{
    (void)identifier; (void)event_data;
    if (event != MOSQ_EVT_BASIC_AUTH) return MOSQ_ERR_INVAL;
    registered = callback;
    registered_data = user_data;
    return MOSQ_ERR_SUCCESS;
}

int mosquitto_callback_unregister(mosquitto_plugin_id_t *identifier, int event, MOSQ_FUNC_generic_callback callback,
                                  const void *event_data)
{
    (void)identifier; (void)event; (void)event_data;
    return callback == registered ? MOSQ_ERR_SUCCESS : MOSQ_ERR_NOT_FOUND;
}

/* An exact-size heap copy, so that one byte too many is seen. */
static char *unhex(const char *hex)
{
    size_t length = strlen(hex) / 2;
    char *text;
    if (strcmp(hex, "-") == 0) return NULL;
    text = malloc(length + 1);
    for (size_t i = 0; i < length; i++) {
        unsigned byte = 0;
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1) abort();
        text[i] = (char)byte;
    }
    text[length] = '\0';
    return text;
}

int main(int argc, char **argv)
{
    char option[] = "key_directory";
    struct mosquitto_opt options[] = {{option, argv[argc - 1]}};
    const int versions[] = {4, 5};
    char *line = NULL, *username, *token;
    size_t capacity = 0;
    void *settings = NULL;

    if (mosquitto_plugin_version(2, versions) != 5 || mosquitto_plugin_version(1, versions) != -1) return 2;
    if (mosquitto_plugin_init(NULL, &settings, options, 0) != MOSQ_ERR_INVAL) return 3;
    if (mosquitto_plugin_init(NULL, &settings, options, 1) != MOSQ_ERR_SUCCESS) return 4;
    while (getline(&line, &capacity, stdin) > 0) {
        struct mosquitto_evt_basic_auth login = {0};
        char *space = strchr(line, ' ');
        if (space == NULL) return 5;
        line[strcspn(line, "\n")] = '\0';
        *space = '\0';
        username = login.username = unhex(line);
        token = login.password = unhex(space + 1);
        (void)puts(registered(MOSQ_EVT_BASIC_AUTH, &login, registered_data) == MOSQ_ERR_SUCCESS ? "1" : "0");
        free(username);
        free(token);
    }
    free(line);
    return mosquitto_plugin_cleanup(settings, options, 1) == MOSQ_ERR_SUCCESS ? 0 : 6;
}
