/* A Modbus TCP server by libmodbus, so that somebody else's idea of Modbus judges the driver.
 *
 * Prints its port, then serves until its standard input is closed. Holding registers 100-199 hold their own
 * address; input registers 0-15 hold 123.456 in the four orders ABCD, DCBA, BADC, CDAB, then 16-bit values;
 * coils 0-31 and discrete inputs 8-39 alternate, beginning with 1. Everything else is exception 2.
 */

#include <modbus/modbus.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

/* 123.456 is 42 F6 E9 79. (What libmodbus' own modbus_set_float_abcd makes of it depends on its version.) */
static const uint16_t floats[8] = {0x42F6, 0xE979, 0x79E9, 0xF642, 0xF642, 0x79E9, 0xE979, 0x42F6};

int main(void)
{
    modbus_t *context = modbus_new_tcp("127.0.0.1", 0);
    modbus_mapping_t *map = modbus_mapping_new_start_address(0, 32, 8, 32, 100, 100, 0, 16);
    int listener = context ? modbus_tcp_listen(context, 8) : -1;
    struct sockaddr_in place;
    socklen_t size = sizeof place;

    if (!map || listener < 0 || getsockname(listener, (struct sockaddr *)&place, &size) < 0) {
        perror("libmodbus server");
        return 1;
    }
    for (int n = 0; n < 100; n++)
        map->tab_registers[n] = 100 + n;
    for (int n = 0; n < 32; n++)
        map->tab_bits[n] = map->tab_input_bits[n] = n % 2 == 0;
    for (int n = 0; n < 8; n++)
        map->tab_input_registers[n] = floats[n];
    for (int n = 8; n < 16; n++)
        map->tab_input_registers[n] = (uint16_t)-n;
    printf("%d\n", ntohs(place.sin_port));
    fflush(stdout);

    fd_set open_files;
    int highest = listener;
    FD_ZERO(&open_files);
    FD_SET(STDIN_FILENO, &open_files);
    FD_SET(listener, &open_files);
    for (;;) {
        fd_set ready = open_files;
        if (select(highest + 1, &ready, NULL, NULL, NULL) < 0)
            return 1;
        if (FD_ISSET(STDIN_FILENO, &ready))
            return 0;
        for (int file = STDIN_FILENO + 1; file <= highest; file++) {
            if (!FD_ISSET(file, &ready))
                continue;
            if (file == listener) {
                int peer = accept(listener, NULL, NULL);
                if (peer >= 0 && peer < FD_SETSIZE) {
                    FD_SET(peer, &open_files);
                    highest = peer > highest ? peer : highest;
                }
                continue;
            }
            uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
            modbus_set_socket(context, file);
            int length = modbus_receive(context, query);
            if (length < 0) {
                FD_CLR(file, &open_files);
                close(file);
            } else if (length > 0) {
                modbus_reply(context, query, length, map);
            }
        }
    }
}
