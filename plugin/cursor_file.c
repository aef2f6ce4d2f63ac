#include "plugin/cursor_file.h"

#include "base/crc32c.h"
#include "plugin/little_endian.h"
#include "plugin/segment_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Offsets in a slot. Magic, version and the CRC's place are the same in every format version. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_SINK = 12,
    AT_GENERATION = 16,
    AT_POSITION = 24,
    AT_CRC = 60,
    SLOT_SIZE = 64,
    SLOT_DISTANCE = 4096, /* two slots never share a sector */
    FILE_SIZE = 2 * SLOT_DISTANCE,
};

#define CURSOR_VERSION 1u

static const char magic[8] = {'M', 'Q', 'A', 'W', 'S', 'C', 'U', 'R'};

struct slot {
    uint64_t generation;
    uint64_t position;
};

void cursor_file_name(enum sink_id sink, const char *suffix, char out[CURSOR_NAME_SIZE])
{
    snprintf(out, CURSOR_NAME_SIZE, "cursor-%s%s%s", sink_id_name(sink), suffix ? "." : "", suffix ? suffix : "");
}

static void encode_slot(enum sink_id sink, const struct slot *slot, uint8_t out[SLOT_SIZE])
{
    memset(out, 0, SLOT_SIZE);
    memcpy(out + AT_MAGIC, magic, sizeof(magic));
    put_le32(out + AT_VERSION, CURSOR_VERSION);
    put_le32(out + AT_SINK, (uint32_t)sink);
    put_le64(out + AT_GENERATION, slot->generation);
    put_le64(out + AT_POSITION, slot->position);
    put_le32(out + AT_CRC, crc32c(0, bytes_make(out, AT_CRC)));
}

static enum err decode_slot(enum sink_id sink, const uint8_t *data, struct slot *out)
{
    if (memcmp(data + AT_MAGIC, magic, sizeof(magic)) != 0 ||
        get_le32(data + AT_CRC) != crc32c(0, bytes_make(data, AT_CRC))) {
        return E_CORRUPT;
    }
    if (get_le32(data + AT_VERSION) != CURSOR_VERSION) {
        return E_VERSION;
    }
    *out = (struct slot){get_le64(data + AT_GENERATION), get_le64(data + AT_POSITION)};
    return get_le32(data + AT_SINK) == (uint32_t)sink && out->position > 0 && out->position <= SEQUENCE_MAX + 1
               ? E_OK
               : E_CORRUPT;
}

/* The slot of a generation. */
static off_t slot_offset(uint64_t generation)
{
    return (off_t)(generation % 2) * SLOT_DISTANCE;
}

static enum err write_all(int fd, const uint8_t *data, size_t size, off_t at)
{
    while (size > 0) {
        ssize_t n = pwrite(fd, data, size, at);
        if (n < 0 && errno != EINTR) {
            return err_from_errno(errno);
        }
        size_t written = n > 0 ? (size_t)n : 0;
        data += written;
        size -= written;
        at += (off_t)written;
    }
    return E_OK;
}

enum err cursor_file_read(int dir_fd, enum sink_id sink, struct cursor_file *out, uint64_t *position)
{
    char name[CURSOR_NAME_SIZE];
    cursor_file_name(sink, NULL, name);
    /* For writing too: what could not be written later is found out now. */
    int fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    struct slot newest = {0, 0};
    enum err result = E_CORRUPT;
    for (uint64_t i = 0; i < 2 && result != E_VERSION; i++) {
        uint8_t data[SLOT_SIZE] = {0};
        struct slot slot;
        ssize_t n = pread(fd, data, sizeof(data), slot_offset(i));
        enum err e = n == SLOT_SIZE ? decode_slot(sink, data, &slot) : E_CORRUPT;
        if (e == E_VERSION) {
            result = E_VERSION;
        } else if (e == E_OK && (result != E_OK || slot.generation > newest.generation)) {
            newest = slot;
            result = E_OK;
        }
    }
    close(fd);
    if (result != E_OK) {
        return result;
    }
    *out = (struct cursor_file){newest.generation};
    *position = newest.position;
    return E_OK;
}

enum err cursor_file_create(int dir_fd, enum sink_id sink, uint64_t position, struct cursor_file *out)
{
    char name[CURSOR_NAME_SIZE];
    char beside[CURSOR_NAME_SIZE];
    uint8_t data[FILE_SIZE] = {0};
    cursor_file_name(sink, NULL, name);
    cursor_file_name(sink, "tmp", beside);
    int fd = openat(dir_fd, beside, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    encode_slot(sink, &(struct slot){1, position}, data + slot_offset(1));
    enum err e = write_all(fd, data, sizeof(data), 0);
    if (e == E_OK && (fsync(fd) != 0 || renameat(dir_fd, beside, dir_fd, name) != 0 || fsync(dir_fd) != 0)) {
        e = err_from_errno(errno);
    }
    close(fd);
    if (e != E_OK) {
        unlinkat(dir_fd, beside, 0);
        return e;
    }
    *out = (struct cursor_file){1};
    return E_OK;
}

enum err cursor_file_save(int dir_fd, struct cursor_file *f, enum sink_id sink, uint64_t position, bool durable)
{
    char name[CURSOR_NAME_SIZE];
    uint8_t data[SLOT_SIZE];
    struct slot slot = {f->generation + 1, position};
    cursor_file_name(sink, NULL, name);
    int fd = f->generation > 0 ? openat(dir_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd < 0) {
        bool missing = f->generation == 0 || errno == ENOENT;
        return missing ? cursor_file_create(dir_fd, sink, position, f) : err_from_errno(errno);
    }
    encode_slot(sink, &slot, data);
    enum err e = write_all(fd, data, sizeof(data), slot_offset(slot.generation));
    if (e == E_OK && durable && fdatasync(fd) != 0) {
        e = err_from_errno(errno);
    }
    close(fd);
    if (e == E_OK) {
        f->generation = slot.generation;
    }
    return e;
}
