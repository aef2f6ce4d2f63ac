# Run by cpack between installing and packing: man pages and changelogs are compressed as Debian wants them.
execute_process(COMMAND find ${CPACK_TEMPORARY_INSTALL_DIRECTORY} -type f
    ( -path */share/man/man?/* -o -path */share/doc/*/changelog ) -not -name *.gz -exec gzip -9nf {} +
    COMMAND_ERROR_IS_FATAL ANY)
