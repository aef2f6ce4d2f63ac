#include "codec_tool.h"

#include "hex.h"

#include <stdio.h>

static void print_json(cJSON *json)
{
    char *text = cJSON_PrintUnformatted(json);
    puts(text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(json);
}

static int run_decode(void)
{
    static char line[1 << 20];
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        struct bytes packet = hex_to_bytes(line + 1);
        struct mqtt_packet p;
        enum mqtt_version version = line[0] == '5' ? MQTT_V5 : MQTT_V311;
        enum err err = mqtt_decode(version, packet, &p);
        cJSON *json = err == E_OK ? codec_describe(version, &p) : cJSON_CreateObject();
        if (err != E_OK) {
            cJSON_AddStringToObject(json, "error", err_name(err));
        }
        print_json(json);
        free((void *)(uintptr_t)packet.data);
    }
    return EXIT_SUCCESS;
}

static int run_generate(uint64_t random, unsigned long count)
{
    struct buffer out;
    buffer_init(&out, 1u << 20);
    for (unsigned long i = 0; i < count; i++) {
        enum mqtt_version version = i % 2 ? MQTT_V5 : MQTT_V311;
        struct mqtt_packet p;
        codec_generate(&random, version, &p);
        buffer_clear(&out);
        enum err err = mqtt_encode(&out, version, &p);
        if (err != E_OK) {
            fprintf(stderr, "%s: %s\n", mqtt_type_name((uint8_t)p.type), err_name(err));
            return EXIT_FAILURE;
        }
        printf("%d ", version);
        for (size_t n = 0; n < out.len; n++) {
            printf("%02x", out.data[n]);
        }
        putchar(' ');
        print_json(codec_describe(version, &p));
    }
    buffer_finish(&out);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "decode") == 0) {
        return run_decode();
    }
    if (argc == 4 && strcmp(argv[1], "generate") == 0) {
        return run_generate(strtoull(argv[2], NULL, 10) * 2 + 1, strtoul(argv[3], NULL, 10));
    }
    fprintf(stderr, "usage: %s decode | generate SEED COUNT\n", argv[0]);
    return EXIT_FAILURE;
}
