# Warnings of the house; errors in every preset but release (packagers have other compilers).
add_compile_options(
    -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wundef
    -Wpointer-arith -Wwrite-strings -Wcast-qual)
option(MQA_WERROR "Warnings are errors" ON)
if(MQA_WERROR)
    add_compile_options(-Werror)
endif()
