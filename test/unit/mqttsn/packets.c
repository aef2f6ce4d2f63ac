/* packets COUNT [SEED]: writes COUNT generated packets, one a line: hex, then name=value of what was put in. */
#include "generate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void print_text(const char *name, struct bytes b)
{
    printf("\t%s=%.*s", name, (int)b.len, (const char *)b.data);
}

static void print_topic(const struct mqttsn_topic *t)
{
    printf("\ttype=%d", (int)t->type);
    if (t->name.len > 0) {
        print_text("topic", t->name);
    } else if (t->type == MQTTSN_TOPIC_SHORT) {
        printf("\tshort=%c%c", t->id >> 8, t->id & 0xff);
    } else {
        printf("\ttopic_id=%u", t->id);
    }
}

static void print_fields(const struct mqttsn_packet *p)
{
    switch (p->type) {
    case MQTTSN_ADVERTISE:
        printf("\tgateway=%u\tinterval=%u", p->advertise.gateway_id, p->advertise.duration_s);
        break;
    case MQTTSN_SEARCHGW:
        printf("\tradius=%u", p->searchgw.radius);
        break;
    case MQTTSN_GWINFO:
        printf("\tgateway=%u", p->gwinfo.gateway_id);
        break;
    case MQTTSN_CONNECT:
        printf("\twill=%d\tclean=%d\tprotocol=%u\tkeepalive=%u", p->connect.will, p->connect.clean_session,
               p->connect.protocol_id, p->connect.duration_s);
        print_text("client", p->connect.client_id);
        break;
    case MQTTSN_CONNACK:
    case MQTTSN_WILLTOPICRESP:
    case MQTTSN_WILLMSGRESP:
        printf("\tcode=%u", p->connack.code);
        break;
    case MQTTSN_WILLTOPIC:
    case MQTTSN_WILLTOPICUPD:
        if (p->willtopic.topic.len > 0) {
            printf("\tqos=%u\tretain=%d", p->willtopic.qos, p->willtopic.retain);
            print_text("willtopic", p->willtopic.topic);
        }
        break;
    case MQTTSN_WILLMSG:
    case MQTTSN_WILLMSGUPD:
        print_text("willmsg", p->willmsg.message);
        break;
    case MQTTSN_REGISTER:
        printf("\ttopic_id=%u\tmsg_id=%u", p->register_.topic_id, p->register_.msg_id);
        print_text("topic", p->register_.topic);
        break;
    case MQTTSN_REGACK:
    case MQTTSN_PUBACK:
        printf("\ttopic_id=%u\tmsg_id=%u\tcode=%u", p->puback.topic_id, p->puback.msg_id, p->puback.code);
        break;
    case MQTTSN_PUBLISH:
        printf("\tdup=%d\tqos=%u\tretain=%d\tmsg_id=%u", p->publish.dup, p->publish.qos, p->publish.retain,
               p->publish.msg_id);
        print_topic(&p->publish.topic);
        print_text("payload", p->publish.payload);
        break;
    case MQTTSN_PUBCOMP:
    case MQTTSN_PUBREC:
    case MQTTSN_PUBREL:
    case MQTTSN_UNSUBACK:
        printf("\tmsg_id=%u", p->pubrec.msg_id);
        break;
    case MQTTSN_SUBSCRIBE:
    case MQTTSN_UNSUBSCRIBE:
        printf("\tmsg_id=%u", p->subscribe.msg_id);
        if (p->type == MQTTSN_SUBSCRIBE) {
            printf("\tdup=%d\tqos=%u", p->subscribe.dup, p->subscribe.qos);
        }
        print_topic(&p->subscribe.topic);
        break;
    case MQTTSN_SUBACK:
        printf("\tqos=%u\ttopic_id=%u\tmsg_id=%u\tcode=%u", p->suback.qos, p->suback.topic_id, p->suback.msg_id,
               p->suback.code);
        break;
    case MQTTSN_PINGREQ:
        if (p->pingreq.client_id.len > 0) {
            print_text("client", p->pingreq.client_id);
        }
        break;
    case MQTTSN_DISCONNECT:
        if (p->disconnect.has_duration) {
            printf("\tsleep=%u", p->disconnect.duration_s);
        }
        break;
    default:
        break;
    }
}

int main(int argc, char **argv)
{
    unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
    uint64_t rng = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 88172645463325252u;
    for (unsigned long i = 0; i < count; i++) {
        struct mqttsn_packet p;
        uint8_t room[GENERATE_TEXT_MAX], wire[1024];
        generate_packet(&rng, generate_types[i % GENERATE_TYPES], &p, room);
        size_t size = mqttsn_encode(&p, wire, sizeof(wire));
        if (size == 0) {
            return EXIT_FAILURE;
        }
        for (size_t k = 0; k < size; k++) {
            printf("%02x", wire[k]);
        }
        printf("\tname=%s\tlength=%zu", mqttsn_type_name((uint8_t)p.type), size);
        print_fields(&p);
        putchar('\n');
    }
    return EXIT_SUCCESS;
}
