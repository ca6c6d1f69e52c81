# Compiler and linker flags, the same for every target of the tree.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)

# Checks stay on in production: no build type defines NDEBUG.
set(CMAKE_C_FLAGS_DEBUG "-O1 -g -fno-omit-frame-pointer")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")
set(CMAKE_C_FLAGS_RELEASE "-O2")

# Defined as empty, so that a source that also says `#define _GNU_SOURCE` is no redefinition.
add_compile_options(-D_GNU_SOURCE=)
add_compile_definitions(BRINDLE_VERSION="${PROJECT_VERSION}")

add_compile_options(
    -Wall -Wextra -Wconversion -Wshadow -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes
    -Wpointer-arith -Wvla -fno-common
    # What an initializer leaves out is zero; tables rely on it, and gcc and clang differ here.
    -Wno-missing-field-initializers)
if(BRINDLE_WERROR)
    add_compile_options(-Werror)
endif()
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
    add_compile_options(-Wthread-safety)
endif()

if(BRINDLE_DEBUG)
    add_compile_definitions(BRD_DEBUG=1)
endif()

# Planted faults: -DBRINDLE_BREAK="EARLY_ACK;NO_DIR_FSYNC" defines BREAK_EARLY_ACK and
# BREAK_NO_DIR_FSYNC.
foreach(fault IN LISTS BRINDLE_BREAK)
    message(WARNING "This build is broken on purpose: BREAK_${fault}")
    add_compile_definitions(BREAK_${fault}=1)
endforeach()

if(BRINDLE_SANITIZE STREQUAL "address")
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all)
    add_link_options(-fsanitize=address,undefined)
elseif(BRINDLE_SANITIZE STREQUAL "thread")
    add_compile_options(-fsanitize=thread)
    add_link_options(-fsanitize=thread)
elseif(BRINDLE_SANITIZE STREQUAL "fuzzer")
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "BRINDLE_SANITIZE=fuzzer needs clang")
    endif()
    add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
    add_link_options(-fsanitize=address,undefined)
    add_compile_definitions(BRD_FUZZ=1)
elseif(BRINDLE_SANITIZE)
    message(FATAL_ERROR "BRINDLE_SANITIZE is address, thread, fuzzer or empty, not ${BRINDLE_SANITIZE}")
endif()
if(BRINDLE_SANITIZE AND BRINDLE_JEMALLOC)
    message(FATAL_ERROR "Sanitizers bring their own allocator: use -DBRINDLE_JEMALLOC=OFF")
endif()

# Executables are position independent. Libraries inside them are compiled as -fPIE too, which
# is cheaper than -fPIC; only what goes into a shared library is not.
set(shared $<IN_LIST:$<TARGET_PROPERTY:TYPE>,SHARED_LIBRARY$<SEMICOLON>MODULE_LIBRARY>)
set(wants_pic $<BOOL:$<TARGET_PROPERTY:POSITION_INDEPENDENT_CODE>>)
add_compile_options($<$<NOT:$<OR:${shared},${wants_pic}>>:-fPIE>)
add_link_options($<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:-pie>)

if(BRINDLE_HARDEN)
    include(CheckCCompilerFlag)
    foreach(flag -fstack-protector-strong -fstack-clash-protection -fcf-protection)
        string(MAKE_C_IDENTIFIER "has${flag}" has)
        check_c_compiler_flag(${flag} ${has})
        if(${has})
            add_compile_options(${flag})
        endif()
    endforeach()
    # Distributions may have set it in CFLAGS already, to another value.
    add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
    add_link_options(-Wl,-z,relro,-z,now)
endif()

if(BRINDLE_LTO)
    include(CheckIPOSupported)
    check_ipo_supported(RESULT lto_works OUTPUT lto_why LANGUAGES C)
    if(lto_works)
        set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
    else()
        message(STATUS "No link-time optimization: ${lto_why}")
    endif()
endif()
