#include "plugin/sink.h"

const char *sink_state_name(enum sink_state state)
{
    static const char *const names[] = {
        [SINK_STOPPED] = "stopped", [SINK_CONNECTING] = "connecting", [SINK_RUNNING] = "running",
        [SINK_WAITING] = "waiting", [SINK_PAUSED] = "paused",         [SINK_FAILED] = "failed",
    };
    return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}
