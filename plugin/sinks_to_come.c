#include "plugin/sink.h"

static bool never(const struct plugin_options *o)
{
    (void)o;
    return false;
}

const struct sink_type sink_iotcore_type = {.name = "iotcore", .id = SINK_IOTCORE, .wanted = never};
