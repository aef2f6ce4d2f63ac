/* What went wrong with an SQLite file: one line in plain words that names the file. */
#ifndef STORE_SQLITE_ERROR_H
#define STORE_SQLITE_ERROR_H

struct sqlite_error {
    char text[320];
};

#endif
