# Libraries, all from Debian packages.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv)
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET openssl)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(CJSON REQUIRED IMPORTED_TARGET libcjson)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(FCGI REQUIRED IMPORTED_TARGET fcgi)
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
# Has no pkg-config file.
find_path(HTTP_PARSER_INCLUDE_DIR http_parser.h REQUIRED)
find_library(HTTP_PARSER_LIBRARY http_parser REQUIRED)
if(MQA_TESTS)
    pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()

# Where the compiler makes code for ARMv6 (Raspberry Pi OS of 32 bits), atomic numbers of 64 bits are functions of a library.
include(CheckSourceCompiles)
check_source_compiles(C "
    #include <stdatomic.h>
    #include <stdint.h>
    static _Atomic uint64_t number;
    int main(void) { return atomic_fetch_add(&number, 1) != 0; }" MQA_ATOMIC_64)
if(NOT MQA_ATOMIC_64)
    link_libraries(atomic)
endif()
