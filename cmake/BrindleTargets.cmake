# Helpers to declare targets from folders. Sources are found by globbing, so adding a file
# needs no change here; a folder without sources is skipped until it has some.

# Links those of the named targets that exist: in a growing tree the layer below may have no
# sources yet.
function(brindle_link target visibility)
    foreach(name IN LISTS ARGN)
        if(TARGET ${name} OR NOT name MATCHES "^brd_|^brindle")
            target_link_libraries(${target} ${visibility} ${name})
        endif()
    endforeach()
endfunction()

# Checks the #includes of the given folders before `target` is built. Runs again only when a
# source or the rules change.
function(brindle_check_layers target)
    set(globs "")
    foreach(folder IN LISTS ARGN)
        list(APPEND globs ${PROJECT_SOURCE_DIR}/${folder}/*.c ${PROJECT_SOURCE_DIR}/${folder}/*.h)
    endforeach()
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${globs})
    set(stamp ${PROJECT_BINARY_DIR}/layers/${target}.ok)
    add_custom_command(OUTPUT ${stamp}
        COMMAND ${PROJECT_SOURCE_DIR}/tests/lint/check_layers.sh --quiet ${ARGN}
        COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
        DEPENDS ${sources} ${PROJECT_SOURCE_DIR}/tests/lint/check_layers.sh
            ${PROJECT_SOURCE_DIR}/cmake/layers.txt
        WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
        COMMENT "Checking layers of ${ARGN}"
        VERBATIM)
    add_custom_target(${target}_layers DEPENDS ${stamp})
    add_dependencies(${target} ${target}_layers)
endfunction()

# brindle_library(<folder> [LIBS lib...] [USES layer...])
# libbrd_<folder> from daemon/<folder>/**/*.c; USES names layers below it, LIBS external ones.
function(brindle_library folder)
    cmake_parse_arguments(arg "" "" "LIBS;USES" ${ARGN})
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/daemon/${folder}/*.c)
    if(NOT sources)
        return()
    endif()
    add_library(brd_${folder} STATIC ${sources})
    target_include_directories(brd_${folder} PUBLIC ${PROJECT_SOURCE_DIR}/daemon)
    list(TRANSFORM arg_USES PREPEND brd_)
    brindle_link(brd_${folder} PUBLIC ${arg_USES})
    target_link_libraries(brd_${folder} PUBLIC ${arg_LIBS})
    brindle_check_layers(brd_${folder} daemon/${folder})
endfunction()

# Splits sources into the file that has main() and the rest.
function(brindle_find_main out_main out_rest)
    set(main "")
    set(rest "")
    foreach(source IN LISTS ARGN)
        file(STRINGS ${source} hit REGEX "^(int )?main\\(" LIMIT_COUNT 1)
        if(hit)
            list(APPEND main ${source})
        else()
            list(APPEND rest ${source})
        endif()
    endforeach()
    if(NOT main)  # look again when one of them changes
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ARGN})
    endif()
    set(${out_main} "${main}" PARENT_SCOPE)
    set(${out_rest} "${rest}" PARENT_SCOPE)
endfunction()

# brindle_program(<name> <part> FOLDER dir [LIBS lib...] [INCLUDES dir...])
# Executable <name> (target program_<part>) from dir/*.c. Everything but the file with main() goes into the static
# library brd_<part>, so that tests/unit/<part> can reach it. Skipped until main() exists.
function(brindle_program name part)
    cmake_parse_arguments(arg "" "FOLDER" "LIBS;INCLUDES" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${arg_FOLDER}/*.c)
    brindle_find_main(main rest ${sources})

    set(parts "")
    if(rest)
        add_library(brd_${part} STATIC ${rest})
        target_include_directories(brd_${part} PUBLIC
            ${PROJECT_SOURCE_DIR}/${arg_FOLDER} ${arg_INCLUDES})
        brindle_link(brd_${part} PUBLIC ${arg_LIBS})
        set(parts brd_${part})
    endif()
    if(NOT main)
        return()
    endif()
    set(program program_${part})
    add_executable(${program} ${main})
    target_include_directories(${program} PRIVATE ${arg_INCLUDES})
    brindle_link(${program} PRIVATE ${parts} ${arg_LIBS})
    set_target_properties(${program} PROPERTIES
        OUTPUT_NAME ${name}
        RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
    brindle_check_layers(${program} ${arg_FOLDER})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()
